"""Samples of a recurrent language model: continuations of held-out documents."""

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
    """Return samples of the first documents that are longer than a prompt.

    A sample has the document's beginning, its continuation, and the model's.

    Args:
        model: A `CharacterRNN`.
        documents: Symbols of each document, BOUNDARY last.
        settings: The recipe's section.
        opening: How many BOUNDARY symbols precede a document.
        seed: Seed of the drawn continuations.
    """
    long_enough = [one for one in documents if len(one) - 1 > settings.prompt_bytes][: settings.samples]
    random = torch.Generator().manual_seed(seed)
    shown = []
    for document in long_enough:
        prompt, rest = np.split(document[:-1], [settings.prompt_bytes])
        shown.append(
            samples.text(
                prompt=text_of(prompt),
                expected=text_of(rest[: settings.sample_bytes]),
                greedy=text_of(proceed(model, prompt, settings.sample_bytes, opening)),
                at_temperature=text_of(
                    proceed(model, prompt, settings.sample_bytes, opening, settings.temperature, random)
                ),
            )
        )
    return shown
