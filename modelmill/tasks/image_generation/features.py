"""Features of a classifier of the real images, and the distance of two sets of images by them."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from modelmill.models import layers
from modelmill.models.architectures import vgg
from modelmill.training.device import determinism, hardware

STEPS, BATCH, RATE, WIDTH, STAGES = 200, 64, 3e-3, 16, 3
AT_ONCE = 256


class Features(NamedTuple):
    """A small VGG.

    Attributes:
        body: Makes the features.
        head: Tells the labels by them.
    """

    body: nn.Module
    head: nn.Module

    @torch.no_grad()
    def of(self, images: np.ndarray) -> np.ndarray:
        """Return the features of images, float64, (images, features).

        Args:
            images: uint8, (images, channels, size, size).
        """
        where = next(self.head.parameters()).device
        parts = [images[first : first + AT_ONCE] for first in range(0, len(images), AT_ONCE)]
        return torch.cat([self.body(_scaled(part, where)).double().cpu() for part in parts]).numpy()

    @torch.no_grad()
    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Return the accuracy on images.

        Args:
            images: uint8, (images, channels, size, size).
            labels: int64, (images,).
        """
        weights = self.head.state_dict()
        logits = self.of(images) @ weights["weight"].double().cpu().numpy().T + weights["bias"].cpu().numpy()
        return float((logits.argmax(axis=1) == labels).mean())


def learn(images: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> Features:
    """Return the features that a classifier of these images learns.

    Args:
        images: uint8, (images, channels, size, size).
        labels: Numbers of classes, int64, (images,).
        classes: How many classes there are.
        seed: Seed of weights and batches.
    """
    where = hardware.pick_device()
    determinism.seed_everything(seed)
    body = layers.sequence(vgg(images.shape[1], WIDTH, STAGES, 1)).to(where)
    head = nn.Linear(WIDTH * 2 ** (STAGES - 1), classes).to(where)
    weights = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    draws = np.random.default_rng(seed)
    for _ in range(STEPS):
        chosen = draws.choice(len(images), min(BATCH, len(images)), replace=False)
        loss = F.cross_entropy(head(body(_scaled(images[chosen], where))), torch.from_numpy(labels[chosen]).to(where))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
    return Features(body.eval(), head.eval())


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Frechet distance between Gaussians of two sets of features.

    With the features of an Inception network it is known as FID (Heusel et al., 2017,
    https://arxiv.org/abs/1706.08500).

    Args:
        one: (images, features).
        other: (images, features).
    """
    covariances = [np.cov(features, rowvar=False) for features in (one, other)]
    root = _root(covariances[0])
    # The root of the product has the trace of this symmetric matrix's root, which is always real.
    product = np.linalg.eigvalsh(root @ covariances[1] @ root)
    apart = float(((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum())
    spread = sum(float(np.trace(one)) for one in covariances)
    return apart + spread - 2 * float(np.sqrt(product.clip(0)).sum())


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def _scaled(images: np.ndarray, where: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(images)).to(where).float() / 127.5 - 1
