"""Benchmark of the training engine."""
