"""Benchmark of tokenising and packing."""
