"""What a classifier of the real images sees in images, and how far two sets of images are from each other by it."""

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
    """A small VGG: `body` makes the features that `head` tells the labels by."""

    body: nn.Module
    head: nn.Module

    @torch.no_grad()
    def of(self, images: np.ndarray) -> np.ndarray:
        """float64, (images, features), of uint8, (images, channels, size, size)."""
        where = next(self.head.parameters()).device
        parts = [images[first : first + AT_ONCE] for first in range(0, len(images), AT_ONCE)]
        return torch.cat([self.body(_scaled(part, where)).double().cpu() for part in parts]).numpy()

    @torch.no_grad()
    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        weights = self.head.state_dict()
        logits = self.of(images) @ weights["weight"].double().cpu().numpy().T + weights["bias"].cpu().numpy()
        return float((logits.argmax(axis=1) == labels).mean())


def learn(images: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> Features:
    """The features of a classifier of these images (uint8, (images, channels, size, size)), by their labels."""
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
    """The Frechet distance between Gaussians of two sets of features, (images, features), which for an Inception's is
    known as FID (Heusel et al., 2017, https://arxiv.org/abs/1706.08500).
    """
    covariances = [np.cov(features, rowvar=False) for features in (one, other)]
    root = _root(covariances[0])
    # The trace of the root of a product is that of a symmetric matrix, whose root is always real.
    product = np.linalg.eigvalsh(root @ covariances[1] @ root)
    apart = float(((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum())
    spread = sum(float(np.trace(one)) for one in covariances)
    return apart + spread - 2 * float(np.sqrt(product.clip(0)).sum())


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def _scaled(images: np.ndarray, where: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.array(images)).to(where).float() / 127.5 - 1
