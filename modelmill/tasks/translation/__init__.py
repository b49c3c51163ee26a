"""A translator: an encoder and a decoder that learn two languages from all texts, then pairs of them."""
