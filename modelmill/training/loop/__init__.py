"""The training loop, what it keeps, and how it goes on."""
