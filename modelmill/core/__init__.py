"""What everything may use: errors, digests, units, the life of processes."""
