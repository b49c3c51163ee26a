"""What a recurrent language model makes of the beginnings of held-out documents."""

from typing import Any

import numpy as np
import torch

from modelmill.measures import samples
from modelmill.measures.samples import Sample
from modelmill.tasks.character_modeling.recipe import CharacterEvaluation
from modelmill.tasks.character_modeling.stream import BOUNDARY


def generate(
    model: Any, documents: list[np.ndarray], settings: CharacterEvaluation, opening: int, seed: int
) -> list[Sample]:
    """The first documents that are longer than a prompt: their beginning, how they go on, and how the model does.

    Args:
        documents: symbols, BOUNDARY last. opening: how many BOUNDARY symbols stand before a document.
    """
    long_enough = [one for one in documents if len(one) - 1 > settings.prompt_bytes][: settings.samples]
    random = torch.Generator().manual_seed(seed)
    found = []
    for document in long_enough:
        prompt, rest = np.split(document[:-1], [settings.prompt_bytes])
        found.append(
            samples.text(
                prompt=_text(prompt),
                expected=_text(rest[: settings.sample_bytes]),
                greedy=_text(proceed(model, prompt, settings.sample_bytes, opening)),
                at_temperature=_text(
                    proceed(model, prompt, settings.sample_bytes, opening, settings.temperature, random)
                ),
            )
        )
    return found


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


def _text(symbols: Any) -> str:
    return bytes(int(symbol) for symbol in symbols).decode("utf-8", "replace")
