"""Generation of images, and their grid."""

import math

import numpy as np
import torch
from torch import nn

AT_ONCE = 256


@torch.inference_mode()
def generate(network: nn.Module, noise: np.ndarray) -> np.ndarray:
    """Return an image for each row of random numbers: uint8, (count, channels, size, size).

    Args:
        network: Makes images from -1 to 1.
        noise: float32, (count, latent).
    """
    where = next(network.parameters()).device
    parts = [torch.from_numpy(noise[first : first + AT_ONCE]).to(where) for first in range(0, len(noise), AT_ONCE)]
    images = torch.cat([network(part).cpu() for part in parts])
    pixels: np.ndarray = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    return pixels


def grid(images: np.ndarray) -> np.ndarray:
    """Return images side by side in about as many rows as columns: uint8, (height, width, channels); the rest is black.

    Args:
        images: uint8, (count, channels, size, size).
    """
    count, channels, size, _ = images.shape
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    places = np.zeros((down * across, channels, size, size), np.uint8)
    places[:count] = images
    tiled = places.reshape(down, across, channels, size, size).transpose(0, 3, 1, 4, 2)
    return tiled.reshape(down * size, across * size, channels)
