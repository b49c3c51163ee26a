"""Precision, memory, compilation and cost on the device at hand."""
