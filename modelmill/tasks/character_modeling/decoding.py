"""Decoding of a recurrent language model, byte by byte."""

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
    """Return the bytes that the model writes after a prompt, until the document ends.

    Args:
        model: A `CharacterRNN`.
        prompt: Bytes of the prompt, (bytes,).
        most: The most bytes to write.
        opening: How many BOUNDARY symbols precede the prompt, as in training.
        temperature: 0 takes the most probable byte; otherwise bytes are drawn.
        random: The random numbers to draw with.
    """
    device = next(model.parameters()).device
    begun = np.concatenate([np.full(opening, BOUNDARY), prompt]).astype(np.int64)
    logits, state = model(torch.from_numpy(begun)[None].to(device))
    written: list[int] = []
    while len(written) < most:
        symbol = _next(logits[0, -1].float().cpu(), temperature, random)
        if symbol == BOUNDARY:
            break
        written.append(symbol)
        logits, state = model(torch.tensor([[symbol]], device=device), state)
    return written


def _next(logits: torch.Tensor, temperature: float, random: torch.Generator | None) -> int:
    if not temperature:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=random))


def text_of(symbols: Any) -> str:
    """Return the text of bytes; invalid UTF-8 is replaced."""
    return bytes(int(symbol) for symbol in symbols).decode("utf-8", "replace")
