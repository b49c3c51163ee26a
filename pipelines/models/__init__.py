"""Registered versions: finding, comparing, tracing and asking them."""
