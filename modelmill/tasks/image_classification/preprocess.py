"""Preprocessing of images and labels: into arrays, or for a checkpoint as the files that they are."""

from dataclasses import replace

import numpy as np

from modelmill.corpus import in_memory, media
from modelmill.corpus.in_memory import AllRows
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_classification import encoded
from modelmill.tasks.image_classification.labels import Numbered, number
from modelmill.tasks.image_classification.recipe import ImagePreprocessing, Recipe

LABELLED = "preprocessing.labelled_per_class"


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `images`, uint8, (rows, channels, size, size), `labels` and `others` as in `Numbered`, and `ids`.
    That of a checkpoint is what `encoded.corpus` says.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or null, an image cannot be decoded or is too small or a label unknown where the
            recipe refuses these, a split lacks a class, or a shard has changed.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    rows = in_memory.read(step, shards, {"preprocessing.label": settings.label})
    if isinstance(recipe.model, PretrainedModel):
        return _for_checkpoint(step, shards, rows, settings)
    images, is_large = media.squares(step, rows.files, settings)
    rows = in_memory.chosen(rows, is_large)
    rows, images, numbered = number(rows, images, settings)
    _require_classes(rows, numbered, settings)
    arrays = {"images": images, "labels": numbered.labels, "others": numbered.others}
    info = {"classes": numbered.classes, "other_classes": settings.other_classes, "size": settings.size}
    made = in_memory.corpus(step, in_memory.by_split(rows, arrays), info | {"channels": settings.channels})
    dropped = {"dropped_small": int((~is_large).sum()), "dropped_unknown_label": int(is_large.sum()) - len(rows.ids)}
    return _described(made, rows, numbered, dropped)


def _for_checkpoint(step: Step, shards: list[tuple[Shard, str]], every: AllRows, settings: ImagePreprocessing) -> Made:
    rows, kept, numbered = number(every, np.arange(len(every.ids)), settings)
    _require_classes(rows, numbered, settings)
    made = encoded.corpus(step, shards, every, numbered, kept)
    return _described(made, rows, numbered, {"dropped_unknown_label": len(every.ids) - len(kept)})


def _require_classes(rows: AllRows, numbered: Numbered, settings: ImagePreprocessing) -> None:
    in_memory.require_classes(numbered.labels, rows.splits, numbered.classes, LABELLED)
    if settings.other_classes:
        in_memory.require_classes(numbered.others, rows.splits, settings.other_classes, LABELLED)


def _described(made: Made, rows: AllRows, numbered: Numbered, dropped: dict[str, int]) -> Made:
    """Return the corpus with what became of the rows, in words and numbers."""
    labelled = int((numbered.labels[rows.splits == "train"] >= 0).sum())
    headline = f"{made.headline}; {labelled:,} labelled"
    headline += f", {sum(dropped.values()):,} dropped" if any(dropped.values()) else ""
    return replace(made, headline=headline, metrics=made.metrics | {"labelled_examples": labelled} | dropped)
