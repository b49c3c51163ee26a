"""Preferences and labelled answers as token ids, in the files of a corpus, and a tiny decoder over them."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.recipe import DecoderModel
from modelmill.tasks.language_modeling.task import LanguageModeling

VOCABULARY, LENGTH = 64, 48
Example = tuple[list[int], list[int], list[int]]


def drawn(count: int, seed: int = 0) -> list[Example]:
    """Random prompts, better answers and worse ones."""
    random = np.random.default_rng(seed)
    sizes = random.integers(2, 14, (count, 3))
    return [tuple(random.integers(1, VOCABULARY, size).tolist() for size in one) for one in sizes]  # type: ignore[misc]


def labelled(examples: list[Example]) -> list[Example]:
    """The first answer of every other example as a good one, and the second of the others as a bad one."""
    return [(p, a, []) if number % 2 else (p, [], b) for number, (p, a, b) in enumerate(examples)]


def write(folder: Path, splits: dict[str, list[Example]], shards: int = 2) -> dict[str, Path]:
    """Write the files of a corpus; between examples there is an END that fills a window."""
    files = {}
    for split, examples in splits.items():
        for number in range(shards):
            tokens, sides, offsets = [0], [0], [0]
            for example in examples[number::shards]:
                offsets.append(len(tokens))
                tokens += [token for part in example for token in part] + [0]
                sides += [side for side, part in enumerate(example) for _ in part] + [0]
                offsets.append(len(tokens) - 1)
            arrays = {
                "tokens": np.array(tokens, np.uint16),
                "offsets": np.array(offsets, np.int64),
                "sides": np.array(sides, np.uint8),
            }
            for kind, array in arrays.items():
                name = f"{split}/{number:05d}.pairs.{kind}.npy"
                files[name] = folder / name
                files[name].parent.mkdir(parents=True, exist_ok=True)
                np.save(files[name], array, allow_pickle=False)
    return files


def task_over(files: dict[str, Path], kind: str) -> LanguageModeling:
    """A task over the files."""
    info = {"sequence_length": LENGTH, "vocab_size": VOCABULARY, "end_of_text": 0, "frame": {"kind": kind}}
    settings = DecoderModel(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    return LanguageModeling(Manifest(kind="corpus", info=info), files, settings)


def stirred(task: LanguageModeling, seed: int) -> Any:
    """A model with weights that are large enough for their differences to show."""
    import torch

    torch.manual_seed(seed)
    model = task.build()
    for weight in model.parameters():
        nn.init.normal_(weight, 0.0 if weight.ndim > 1 else 1.0, 0.3)
    return model
