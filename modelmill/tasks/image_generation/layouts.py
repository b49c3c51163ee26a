"""A generator and a discriminator as `modelmill.models.layers` describes layers.

They are those of DCGAN (Radford et al., 2015, https://arxiv.org/abs/1511.06434).
"""

from typing import Any

Layers = list[list[Any]]


def generator(latent: int, channels: int, size: int, width: int) -> Layers:
    """Return the layers that make images, from -1 to 1, of random numbers, (batch, latent).

    Groups of channels are normalised, not batches: an image depends on its own random numbers alone.

    Args:
        latent: Random numbers of an image.
        channels: Of an image.
        size: Of an image, height and width; a multiple of 4.
        width: Channels of the last hidden layer.
    """
    quarter = size // 4
    return [
        ["linear", latent, 2 * width * quarter**2],
        ["shape", 2 * width, quarter, quarter],
        ["norm", 2 * width],
        ["relu"],
        ["deconv", 2 * width, width],
        ["norm", width],
        ["relu"],
        ["deconv", width, channels],
        ["tanh"],
    ]


def discriminator(channels: int, size: int, width: int) -> Layers:
    """Return the layers that judge images, (batch, 1).

    They have no normalisation, as their gradients are held small instead.

    Args:
        channels: Of an image.
        size: Of an image, height and width.
        width: Channels of the first layer.
    """
    layers: Layers = []
    for inputs, outputs in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [["conv", inputs, outputs, 3, 2, True], ["leaky", 0.2]]
    return [*layers, ["flatten"], ["linear", 4 * width * (-(-size // 8)) ** 2, 1]]
