"""What tasks share to turn validated rows into arrays."""
