"""Processes and nodes that train together."""
