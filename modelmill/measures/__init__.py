"""What tasks share to measure a model on held-out examples."""
