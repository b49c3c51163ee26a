"""A decoder language model: documents, then pairs."""
