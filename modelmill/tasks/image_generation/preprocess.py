"""Images into arrays, some for pretraining and some for fine-tuning."""

from dataclasses import replace

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, media
from modelmill.corpus.in_memory import Whole
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_generation.recipe import GenerationPreprocessing, Recipe


def preprocess(step: Step, found: list[tuple[Shard, str]]) -> Made:
    """
    Each split has `images`, uint8, (rows, channels, size, size), `labels`, numbers of `classes`, int64, and, bool,
    `is_target`: its label is among those that fine-tuning learns; `is_learned`: fine-tuning may see it; and `ids`.

    Args:
        found: the dataset's shards, each with the sha256 that was validated.
    Raises:
        UserError: a column is missing or null, an image cannot be decoded or is too small where the recipe refuses it,
            a label of `fine_tune_on`, or any other, is on no image of a split, or a shard has changed.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    rows = in_memory.read(step, found, {"preprocessing.label": settings.label})
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


def learned(is_target: np.ndarray, rows: Whole, most: int | None) -> np.ndarray:
    """Which images fine-tuning may see: in training the first `most` by their hash, so that more only adds some."""
    found = is_target.copy()
    members = np.flatnonzero(is_target & (rows.splits == "train"))
    found[members[np.argsort(rows.ids[members], kind="stable")[most or len(members) :]]] = False
    return found


def _require(names: np.ndarray, is_target: np.ndarray, rows: Whole, settings: GenerationPreprocessing) -> None:
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
