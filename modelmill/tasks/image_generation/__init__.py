"""A generative adversarial network of images."""
