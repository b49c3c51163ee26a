"""A multilayer perceptron."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class MLP(nn.Module):
    """A multilayer perceptron: y = W_n a(... a(W_1 x + b_1) ...) + b_n."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Build the network with random weights.

        Args:
            config: Names of the `features`, widths of the `hidden` layers, how many `outputs`, the `activation`, and
                the `dropout` of hidden units.
        """
        super().__init__()
        sizes = [len(config["features"]), *config["hidden"], config["outputs"]]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in itertools.pairwise(sizes)])
        self.activation = ACTIVATIONS[config["activation"]]()
        self.dropout = nn.Dropout(config.get("dropout", 0.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits, (batch, outputs), of standardised features, float32, (batch, features)."""
        for layer in self.layers[:-1]:
            features = self.dropout(self.activation(layer(features)))
        logits: torch.Tensor = self.layers[-1](features)
        return logits


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability of each class, (batch, classes).

    Args:
        logits: (batch, classes), or (batch, 1), the logit of the second of two classes.
    """
    if logits.shape[1] > 1:
        return torch.softmax(logits, dim=1)
    positive = torch.sigmoid(logits)
    return torch.cat([1 - positive, positive], dim=1)
