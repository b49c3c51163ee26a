"""One engine trains everything."""
