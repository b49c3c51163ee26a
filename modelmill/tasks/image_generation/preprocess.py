"""Preprocessing of images into arrays, some for pretraining and some for fine-tuning."""

from dataclasses import replace

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, media
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_generation.recipe import GenerationPreprocessing, Recipe


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `ids`, `images`, uint8, (rows, channels, size, size), `labels`, numbers of `classes`, int64, and two
    masks, bool: `is_target`, the rows whose label fine-tuning learns, and `is_learned`, those that it may see.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or null, an image cannot be decoded or is too small where the recipe refuses it,
            a split has no image with a label of `fine_tune_on`, or none with another, or a shard has changed.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    rows = in_memory.read(step, shards, {"preprocessing.label": settings.label})
    images, is_used = media.squares(step, rows.files, settings)
    rows = in_memory.chosen(rows, is_used)
    names = np.array([str(label) for label in rows.columns[settings.label]], dtype=object)
    classes = sorted(set(names.tolist()))
    is_target = np.isin(names, np.array(settings.fine_tune_on, dtype=object))
    _require(names, is_target, rows, settings)
    arrays = {
        "images": images,
        "labels": np.array([classes.index(name) for name in names], np.int64),
        "is_target": is_target,
        "is_learned": learned(is_target, rows, settings.images),
    }
    info = {"classes": classes, "size": settings.size, "channels": settings.channels}
    made = in_memory.corpus(step, in_memory.by_split(rows, arrays), info)
    seen = int((arrays["is_learned"] & (rows.splits == "train")).sum())
    dropped = int((~is_used).sum())
    headline = f"{made.headline}; {seen:,} for fine-tuning" + (f", {dropped:,} dropped" if dropped else "")
    return replace(made, headline=headline, metrics=made.metrics | {"fine_tuning_images": seen, "dropped": dropped})


def learned(is_target: np.ndarray, rows: AllRows, most: int | None) -> np.ndarray:
    """Return which images fine-tuning may see: bool, (rows,).

    Of the training images these are the first `most` by hash, so that a greater number keeps those of a smaller one.

    Args:
        is_target: Which images have a label that fine-tuning learns: bool, (rows,).
        rows: All rows.
        most: How many training images at most; None for all.
    """
    is_learned = is_target.copy()
    members = np.flatnonzero(is_target & (rows.splits == "train"))
    is_learned[members[np.argsort(rows.ids[members], kind="stable")[most or len(members) :]]] = False
    return is_learned


def _require(names: np.ndarray, is_target: np.ndarray, rows: AllRows, settings: GenerationPreprocessing) -> None:
    known = set(names.tolist())
    if unknown := [name for name in settings.fine_tune_on if name not in known]:
        raise UserError(
            f"preprocessing.fine_tune_on: no image has the label {unknown[0]!r}; there are {', '.join(sorted(known))}"
        )
    for split in SPLITS:
        for wanted, what in ((True, "in"), (False, "beside")):
            if not ((is_target == wanted) & (rows.splits == split)).any():
                raise UserError(
                    f"preprocessing.fine_tune_on: no image with a label {what} it is in the {split} split; "
                    "add data, or change the labels"
                )
