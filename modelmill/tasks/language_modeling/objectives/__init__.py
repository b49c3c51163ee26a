"""Objectives of fine-tuning beside the cross-entropy of responses."""
