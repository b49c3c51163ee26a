"""Deleting from a store what is no longer in use."""
