"""Networks and kernels that tasks use."""
