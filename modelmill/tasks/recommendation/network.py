"""SASRec: self-attention over a user's history."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

PADDING = 0


class TransformerBlock(nn.Module):
    """Causal self-attention and a point-wise network, each with a residual connection around its normalised input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Build the block with random weights.

        Args:
            width: Width of the hidden states.
            heads: Attention heads.
            dropout: Share of the values that are dropped in training.
        """
        super().__init__()
        self.heads = heads
        self.dropout = nn.Dropout(dropout)
        self.attention_norm, self.network_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attended, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Return the hidden states after the block, (batch, length, width).

        Args:
            hidden: (batch, length, width).
            seen: Which places each place attends to, bool, (batch, 1, length, length).
        """
        batch, length, width = hidden.shape
        shape = (batch, length, 3, self.heads, width // self.heads)
        query, key, value = self.attended(self.attention_norm(hidden)).view(shape).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        hidden = hidden + self.dropout(self.out(attended.transpose(1, 2).reshape(batch, length, width)))
        return hidden + self.dropout(self.outer(F.relu(self.inner(self.network_norm(hidden)))))


class SASRec(nn.Module):
    """The network of Kang and McAuley, 2018, https://arxiv.org/abs/1808.09781.

    Items are numbered from 1 on; 0 is padding, in front. The loss alone differs from the paper: it is over the whole
    catalogue instead of one drawn item (Klenitskiy and Vasilev, 2023, https://arxiv.org/abs/2309.07602, measure the
    gain).
    """

    def __init__(self, items: int, length: int, width: int, layers: int, heads: int, dropout: float) -> None:
        """Build the network with random weights.

        Args:
            items: How many items the catalogue has.
            length: The most items of a history.
            width: Width of the hidden states.
            layers: Number of blocks.
            heads: Attention heads of each block.
            dropout: Share of the values that are dropped in training.
        """
        super().__init__()
        self.items = nn.Embedding(items + 1, width)
        self.places = nn.Embedding(length, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for embedding in (self.items, self.places):
            nn.init.normal_(embedding.weight, std=width**-0.5)

    def hidden(self, items: torch.Tensor) -> torch.Tensor:
        """Return the hidden state at each place, (batch, length, width), which depends on the items up to it.

        Args:
            items: int64, (batch, length).
        """
        length = items.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=items.device).tril()
        # A place attends to itself even where it is padding, because a softmax over nothing is not a number.
        itself = torch.eye(length, dtype=torch.bool, device=items.device)
        seen = (causal & (items != PADDING).unsqueeze(1)) | itself
        hidden = self.dropout(self.items(items) + self.places.weight)
        for block in self.blocks:
            hidden = block(hidden, seen.unsqueeze(1))
        normed: torch.Tensor = self.norm(hidden)
        return normed

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the logit of each item to follow, (..., items); item 1 is the first.

        Args:
            hidden: (..., width).
        """
        return hidden @ self.items.weight[1:].T

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        """Return the logits of the item after each history, (batch, items).

        Args:
            items: int64, (batch, length).
        """
        return self.scores(self.hidden(items)[:, -1])


def of_config(config: Mapping[str, Any]) -> SASRec:
    """Return the network that a model's `config.json` describes."""
    return SASRec(
        items=config["items"],
        length=config["sequence_length"],
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        dropout=config["dropout"],
    )


def window(known: np.ndarray, length: int) -> np.ndarray:
    """Return the last items of a history, with padding in front: int64, (1, length).

    Args:
        known: Numbers of items, int64, oldest first.
        length: How many items the network sees.
    """
    last = known[-length:]
    return np.concatenate([np.full(length - len(last), PADDING), last])[None].astype(np.int64)
