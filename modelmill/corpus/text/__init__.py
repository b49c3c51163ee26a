"""Text: documents, hygiene, tokenizers, framing, windows."""
