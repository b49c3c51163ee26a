"""A recurrent language model over bytes."""
