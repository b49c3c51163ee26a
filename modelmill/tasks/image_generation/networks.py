"""A generator and a discriminator, as `modelmill.models.layers` describes layers (DCGAN, Radford et al., 2015,
https://arxiv.org/abs/1511.06434), and the game that they play.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from modelmill.models import layers

Layers = list[list[Any]]


class Adversarial(nn.Module):
    """A generator and its discriminator; called, it makes images of random numbers, (batch, latent)."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.latent = int(config["latent"])
        self.generator = layers.sequence(config["generator"])
        self.discriminator = layers.sequence(config["discriminator"])

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """From -1 to 1: (batch, channels, size, size)."""
        images: torch.Tensor = self.generator(noise)
        return images


def generator(latent: int, channels: int, size: int, width: int) -> Layers:
    """From (batch, latent) to images from -1 to 1. Groups of channels are normalised, not batches: an image depends on
    its own random numbers alone.
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
    """From images to (batch, 1), without normalisation, as its gradients are held small instead."""
    layers: Layers = []
    for inputs, outputs in ((channels, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [["conv", inputs, outputs, 3, 2, True], ["leaky", 0.2]]
    return [*layers, ["flatten"], ["linear", 4 * width * (-(-size // 8)) ** 2, 1]]


def game(judge: nn.Module, real: torch.Tensor, fake: torch.Tensor, penalty: float, shift: float) -> torch.Tensor:
    """The losses of both players, summed over the batch, in which each sees its own gradient alone: one backward pass
    moves both.

    The relativistic loss with gradient penalties on real and on generated images (R3GAN, Huang et al., 2024,
    https://arxiv.org/abs/2501.05441, which shows that it converges); what the discriminator sees is shifted, and the
    generator is taught through the shift (DiffAugment, Zhao et al., 2020, https://arxiv.org/abs/2006.10738).

    Args:
        judge: the discriminator. real, fake: images from -1 to 1, (batch, channels, height, width).
    """
    moved = shifted(fake, shift)
    # Clones, as what counts a step's FLOPs cannot follow a gradient to tensors that nothing has computed.
    shown, made = (images.detach().requires_grad_().clone() for images in (shifted(real, shift), moved))
    on_real, on_fake = judge(shown), judge(made)
    slopes = torch.autograd.grad(on_real.sum() + on_fake.sum(), (shown, made), create_graph=True)
    held = penalty / 2 * sum((slope**2).sum() for slope in slopes)
    fixed = {name: weight.detach() for name, weight in judge.named_parameters()}
    taught = torch.func.functional_call(judge, fixed, (moved,))
    return F.softplus(on_fake - on_real).sum() + F.softplus(on_real.detach() - taught).sum() + held


def shifted(images: torch.Tensor, share: float) -> torch.Tensor:
    """Each image shifted by whole pixels, up to a share of its side, drawn anew each time; borders are repeated."""
    count, channels, height, width = images.shape
    where = images.device
    far = (round(share * height), round(share * width))
    moves = [torch.randint(-most, most + 1, (count, 1), device=where) for most in far]
    rows = (torch.arange(height, device=where) + moves[0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=where) + moves[1]).clamp(0, width - 1)
    each = torch.arange(count, device=where)[:, None, None, None]
    return images[
        each, torch.arange(channels, device=where)[:, None, None], rows[:, None, :, None], columns[:, None, None]
    ]


def sliced_wasserstein(real: torch.Tensor, fake: torch.Tensor, directions: int = 256) -> torch.Tensor:
    """How far two sets of equally many images are from each other, in pixels: the mean squared distance of what they
    are along fixed random directions, each sorted (Rabin et al., 2011).
    """
    draws = torch.Generator().manual_seed(0)
    ways = torch.randn(real[0].numel(), directions, generator=draws).to(real.device)
    one, other = ((images.flatten(1) @ (ways / ways.norm(dim=0))).sort(dim=0).values for images in (real, fake))
    return ((one - other) ** 2).mean()
