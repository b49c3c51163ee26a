"""A generator and a discriminator, and the losses of their game.

The layers are those of DCGAN (Radford et al., 2015, https://arxiv.org/abs/1511.06434), described as
`modelmill.models.layers` has it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from modelmill.models import layers


class Adversarial(nn.Module):
    """A generator and its discriminator."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Build both networks with random weights.

        Args:
            config: `latent`, and the layers of `generator` and `discriminator`.
        """
        super().__init__()
        self.latent = int(config["latent"])
        self.generator = layers.sequence(config["generator"])
        self.discriminator = layers.sequence(config["discriminator"])

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """Return the images that the generator makes, from -1 to 1, (batch, channels, size, size).

        Args:
            noise: float32, (batch, latent).
        """
        images: torch.Tensor = self.generator(noise)
        return images


def game(judge: nn.Module, real: torch.Tensor, fake: torch.Tensor, penalty: float, shift: float) -> torch.Tensor:
    """Return the losses of both players, summed over the batch.

    Each player sees the gradient of its own loss alone, so that one backward pass moves both.

    The loss is the relativistic one with gradient penalties on real and on generated images (R3GAN, Huang et al., 2024,
    https://arxiv.org/abs/2501.05441, which shows that it converges). The discriminator sees shifted images, and the
    generator is taught through the shift (DiffAugment, Zhao et al., 2020, https://arxiv.org/abs/2006.10738).

    Args:
        judge: The discriminator.
        real: Images from -1 to 1, (batch, channels, height, width).
        fake: Generated images, of the same shape.
        penalty: Weight of the gradient penalties.
        shift: The greatest shift as a share of a side.
    """
    moved = shifted(fake, shift)
    # Clones, because the counter of a step's FLOPs cannot follow gradients to leaf tensors.
    shown, made = (images.detach().requires_grad_().clone() for images in (shifted(real, shift), moved))
    on_real, on_fake = judge(shown), judge(made)
    slopes = torch.autograd.grad(on_real.sum() + on_fake.sum(), (shown, made), create_graph=True)
    held = penalty / 2 * sum((slope**2).sum() for slope in slopes)
    fixed = {name: weight.detach() for name, weight in judge.named_parameters()}
    taught = torch.func.functional_call(judge, fixed, (moved,))
    return F.softplus(on_fake - on_real).sum() + F.softplus(on_real.detach() - taught).sum() + held


def shifted(images: torch.Tensor, share: float) -> torch.Tensor:
    """Return images shifted at random by whole pixels; borders are repeated.

    Args:
        images: (batch, channels, height, width).
        share: The greatest shift as a share of a side.
    """
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
    """Return the sliced Wasserstein distance of two sets of equally many images, a scalar.

    Images are projected on fixed random directions; the distance is the mean squared difference of the sorted
    projections (Rabin et al., 2011).

    Args:
        real: (images, channels, height, width).
        fake: Of the same shape.
        directions: How many directions.
    """
    draws = torch.Generator().manual_seed(0)
    ways = torch.randn(real[0].numel(), directions, generator=draws).to(real.device)
    one, other = ((images.flatten(1) @ (ways / ways.norm(dim=0))).sort(dim=0).values for images in (real, fake))
    return ((one - other) ** 2).mean()
