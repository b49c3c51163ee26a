"""Benchmarks: every performance claim, measured beside peers in one run."""
