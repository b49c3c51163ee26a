"""Benchmark of the data contract."""
