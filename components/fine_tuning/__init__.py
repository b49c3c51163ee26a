"""The fine-tuning step."""
