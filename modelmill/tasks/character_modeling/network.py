"""A recurrent network over bytes."""

from typing import Any

import torch
from torch import nn

from modelmill.tasks.character_modeling.symbols import SYMBOLS

LAYERS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
State = Any


class CharacterRNN(nn.Module):
    """A network that predicts each symbol from those before it.

    Its use is that of Graves (2013, https://arxiv.org/abs/1308.0850), with PyTorch's LSTM (Hochreiter and Schmidhuber,
    1997) or GRU (Cho et al., 2014, https://arxiv.org/abs/1406.1078).
    """

    def __init__(self, config: dict[str, Any], dropout: float = 0.0) -> None:
        """Build the network with random weights.

        Args:
            config: The `type` (`lstm` or `gru`), `num_layers`, `embedding_size` and `hidden_size`.
            dropout: Share of the values between layers that are dropped in training.
        """
        super().__init__()
        layers = config["num_layers"]
        self.embedding = nn.Embedding(SYMBOLS, config["embedding_size"])
        self.recurrent = LAYERS[config["type"]](
            config["embedding_size"],
            config["hidden_size"],
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(config["hidden_size"], SYMBOLS)

    def read(self, symbols: torch.Tensor, state: State = None) -> tuple[torch.Tensor, State]:
        """Return the hidden states of symbols, (batch, length, width), and the state after them.

        Args:
            symbols: int64, (batch, length).
            state: The state before them; None at a beginning.
        """
        hidden, state = self.recurrent(self.dropout(self.embedding(symbols)), state)
        return self.dropout(hidden), state

    def forward(self, symbols: torch.Tensor, state: State = None) -> tuple[torch.Tensor, State]:
        """Return the logits of the symbol after each, (batch, length, SYMBOLS), and the state after the last.

        Args:
            symbols: int64, (batch, length).
            state: The state before them; None at a beginning.
        """
        hidden, state = self.read(symbols, state)
        return self.head(hidden), state
