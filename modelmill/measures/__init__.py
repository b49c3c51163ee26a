"""Measures of a model on held-out examples that tasks share."""
