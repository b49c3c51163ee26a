"""What a recurrent language model writes after a prompt."""

from typing import Any

import numpy as np
import torch

from modelmill.tasks.character_modeling.symbols import BOUNDARY


@torch.no_grad()
def proceed(
    model: Any,
    prompt: np.ndarray,
    most: int,
    opening: int,
    temperature: float = 0.0,
    random: torch.Generator | None = None,
) -> list[int]:
    """At most so many bytes that follow a prompt, until the document ends: the most probable ones, or drawn."""
    device = next(model.parameters()).device
    begun = np.concatenate([np.full(opening, BOUNDARY), prompt]).astype(np.int64)
    logits, state = model(torch.from_numpy(begun)[None].to(device))
    found: list[int] = []
    while len(found) < most:
        symbol = _next(logits[0, -1].float().cpu(), temperature, random)
        if symbol == BOUNDARY:
            break
        found.append(symbol)
        logits, state = model(torch.tensor([[symbol]], device=device), state)
    return found


def _next(logits: torch.Tensor, temperature: float, random: torch.Generator | None) -> int:
    if not temperature:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=random))


def text_of(symbols: Any) -> str:
    return bytes(int(symbol) for symbol in symbols).decode("utf-8", "replace")
