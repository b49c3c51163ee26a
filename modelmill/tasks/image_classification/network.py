"""A convolutional network whose layers a description in JSON gives."""

from typing import Any

import torch
from torch import nn

from modelmill.models import layers


class ImageClassifier(nn.Module):
    """A classifier of images, uint8 or float from 0 to 255, (batch, channels, height, width)."""

    def __init__(self, config: dict[str, Any], dropout: float = 0.0) -> None:
        """Build the network with random weights.

        Args:
            config: The description of `layers`, how many `features` they make, and the names of the `classes`.
            dropout: Share of the features that are dropped in training.
        """
        super().__init__()
        self.body = layers.sequence(config["layers"])
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(config["features"], len(config["classes"]))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the input of the last layer, (batch, features)."""
        features: torch.Tensor = self.body(images.float() / 127.5 - 1)
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images, (batch, classes)."""
        logits: torch.Tensor = self.head(self.dropout(self.features(images)))
        return logits
