"""Preprocessing of documents into streams of bytes, one for each corpus and split."""

from dataclasses import replace
from typing import Any

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import corpora, in_memory
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.character_modeling.recipe import CharacterPreprocessing, Recipe
from modelmill.tasks.character_modeling.stream import pack

Arrays = dict[str, np.ndarray]


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus: for each of its splits and corpora the arrays of `stream.pack`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing, null or not text, a document is empty where the recipe refuses that, or a corpus
            has no document in a split.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    chosen = settings.fine_tune_on
    columns = {"preprocessing.text": settings.text}
    rows = in_memory.read(
        step, shards, columns | ({"preprocessing.fine_tune_on.column": chosen.column} if chosen else {})
    )
    documents = _documents(rows.columns[settings.text], settings)
    is_full = np.array([bool(document) for document in documents])
    arrays: dict[str, Arrays] = {split: {} for split in SPLITS}
    members_of = corpora.members(rows, chosen)
    for name, members in members_of.items():
        for split in SPLITS:
            kept = np.flatnonzero(members & is_full & (rows.splits == split))
            corpora.require(len(kept), "document", name, split, rows, chosen, settings)
            packed = pack([documents[number] for number in kept])
            arrays[split] |= {f"{name}/{kind}": array for kind, array in packed.items()}
    sizes = {name: {split: _bytes(arrays[split], name) for split in SPLITS} for name in members_of}
    info = {"corpora": sizes, "warm_up": settings.warm_up, "length": settings.length, "held_out": settings.held_out}
    dropped = int((~is_full).sum())
    headline = "; ".join(
        f"{name}: {of['train']:,} training and {of['test']:,} test bytes" for name, of in sizes.items()
    )
    return replace(
        in_memory.corpus(step, arrays, info),
        headline=headline + (f"; {dropped:,} empty documents dropped" if dropped else ""),
        metrics={f"{name}_{split}_bytes": size for name, of in sizes.items() for split, size in of.items()},
    )


def _bytes(arrays: Arrays, corpus: str) -> int:
    return len(arrays[f"{corpus}/tokens"]) - len(arrays[f"{corpus}/ids"])


def _documents(values: list[Any], settings: CharacterPreprocessing) -> list[bytes]:
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            kind = type(value).__name__
            raise UserError(
                f"preprocessing.text: column {settings.text!r} holds {kind}, not text, in row {number} of all"
            )
        if not value and settings.empty == "refuse":
            raise UserError(
                f"preprocessing.text: column {settings.text!r} is empty in row {number} of all; "
                f"set preprocessing.empty: drop to leave such documents out"
            )
    return [value.encode() for value in values]
