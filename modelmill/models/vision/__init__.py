"""Networks for images that transformers does not have; their tensors have the names that torchvision gives them."""
