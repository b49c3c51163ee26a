"""Documents into streams of bytes: one for each corpus and split."""

from dataclasses import replace
from typing import Any

import numpy as np

from components.common.errors import UserError
from components.common.shards import Shard
from components.common.step import Made, Step
from components.preprocessing import whole
from components.preprocessing.split import SPLITS
from components.preprocessing.whole import Whole
from components.tasks.character_modeling.recipe import CharacterPreprocessing, Recipe, Rows
from components.tasks.character_modeling.stream import ONLY, pack

PRETRAINING, FINE_TUNING = "pretraining", "fine_tuning"
Arrays = dict[str, np.ndarray]


def preprocess(step: Step, found: list[tuple[Shard, str]]) -> Made:
    """
    Each split of each corpus is the arrays that `stream.pack` makes.

    Args:
        found: the dataset's shards, each with the sha256 that was validated.
    Raises:
        UserError: a column is missing, null or not text, a document is empty, or a corpus has no document in a split.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    chosen = settings.fine_tune_on
    columns = {"preprocessing.text": settings.text}
    rows = whole.read(step, found, columns | ({"preprocessing.fine_tune_on.column": chosen.column} if chosen else {}))
    documents = _documents(rows.columns[settings.text], settings)
    is_full = np.array([bool(document) for document in documents])
    arrays: dict[str, Arrays] = {split: {} for split in SPLITS}
    corpora = _corpora(rows, chosen)
    for name, members in corpora.items():
        for split in SPLITS:
            kept = np.flatnonzero(members & is_full & (rows.splits == split))
            _require(len(kept), name, split, rows, chosen)
            packed = pack([documents[number] for number in kept])
            arrays[split] |= {f"{name}/{kind}": array for kind, array in packed.items()}
    sizes = {name: {split: _bytes(arrays[split], name) for split in SPLITS} for name in corpora}
    info = {"corpora": sizes, "warm_up": settings.warm_up, "length": settings.length, "held_out": settings.held_out}
    dropped = int((~is_full).sum())
    headline = "; ".join(
        f"{name}: {of['train']:,} training and {of['test']:,} test bytes" for name, of in sizes.items()
    )
    return replace(
        whole.corpus(step, arrays, info),
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


def _corpora(rows: Whole, chosen: Rows | None) -> dict[str, np.ndarray]:
    """Which rows are in each corpus: bool, (rows,); what a run is about comes first."""
    if chosen is None:
        return {ONLY: np.ones(len(rows.ids), bool)}
    members = np.array([str(value) == chosen.value for value in rows.columns[chosen.column]])
    return {FINE_TUNING: members, PRETRAINING: ~members}


def _require(count: int, corpus: str, split: str, rows: Whole, chosen: Rows | None) -> None:
    if count:
        return
    if chosen is not None:
        values = {str(value) for value in rows.columns[chosen.column]}
        if chosen.value not in values or values == {chosen.value}:
            some = ", ".join(repr(value) for value in sorted(values)[:5])
            problem = "no row has" if chosen.value not in values else "every row has"
            raise UserError(
                f"preprocessing.fine_tune_on: {problem} {chosen.value!r} in column {chosen.column!r}, so that nothing "
                f"is left for {corpus}; its values are {some}"
            )
    fraction = "preprocessing.validation or .test" if split == "train" else f"preprocessing.{split}"
    of = "" if chosen is None else f" of {corpus}"
    raise UserError(f"{fraction}: no document{of} is in the {split} split; change it, or add data")
