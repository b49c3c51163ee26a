"""The library: what steps share. It knows no step and no runner."""
