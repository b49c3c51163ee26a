"""A classifier of texts: an encoder that learns language from all texts, then the labels of some."""
