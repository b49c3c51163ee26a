"""A convolutional classifier of images."""
