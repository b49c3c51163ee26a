"""What a recurrent language model makes of the beginnings of held-out documents."""

from typing import Any

import numpy as np
import torch

from modelmill.measures import samples
from modelmill.measures.samples import Sample
from modelmill.tasks.character_modeling.decoding import proceed, text_of
from modelmill.tasks.character_modeling.recipe import CharacterEvaluation


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
                prompt=text_of(prompt),
                expected=text_of(rest[: settings.sample_bytes]),
                greedy=text_of(proceed(model, prompt, settings.sample_bytes, opening)),
                at_temperature=text_of(
                    proceed(model, prompt, settings.sample_bytes, opening, settings.temperature, random)
                ),
            )
        )
    return found
