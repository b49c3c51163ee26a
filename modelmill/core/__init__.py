"""Basics that every package may use: errors, digests, units, the lifetime of processes."""
