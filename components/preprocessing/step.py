"""The preprocessing step: validated shards in, arrays that a model reads out."""

from dataclasses import replace
from typing import TYPE_CHECKING

from modelmill.core.errors import UserError
from modelmill.corpus import named_splits
from modelmill.data import columns, shards
from modelmill.data.shard import Shard
from modelmill.recipe import task_packages
from modelmill.recipe.sections import Data
from modelmill.recipe.step_specs import DATASET
from modelmill.runtime.step_runtime import Made, Step, entry, work_ahead
from modelmill.store.manifest import Manifest

if TYPE_CHECKING:
    from modelmill.tasks.contract import Preprocessing


def make(step: Step) -> Made:
    """Return the corpus that the recipe's task makes of the step's dataset."""
    validated = _validated(step)
    made = _task(step).preprocess(step, validated)
    return _with_drawn(made, step.recipe.preprocessing.drawn)


run = entry("preprocessing", make)


def fit_ahead(*, recipe: str, store: str, dataset: str) -> None:
    """Fit the tokenizer or scaler and decide what is left out, for the step and `encode_group` to find.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        dataset: File with the dataset's manifest.
    """

    def work(step: Step) -> int:
        _task(step).fit(step, _validated(step))
        return 0

    work_ahead("preprocessing", work, recipe=recipe, store=store, inputs={DATASET: dataset})


def encode_group(*, recipe: str, store: str, dataset: str, group: int, groups: int) -> int:
    """Encode every `groups`-th shard, from number `group` on, for the step to find; nothing if it is finished.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the store.
        dataset: File with the dataset's manifest.
        group: Number of the first shard.
        groups: How many workers share the shards.

    Returns:
        How many shards were encoded.
    """

    def work(step: Step) -> int:
        task, validated = _task(step), _validated(step)
        fitted = task.fit(step, validated)
        return task.encode(step, validated, fitted, range(group, len(validated), groups))[1]

    return work_ahead("preprocessing", work, recipe=recipe, store=store, inputs={DATASET: dataset})


def _task(step: Step) -> "Preprocessing":
    return task_packages.preprocessing(step.recipe.task)


def _validated(step: Step) -> list[tuple[Shard, str]]:
    """Return the step's shards; from then on its recipe says which splits they do not name."""
    validated = find_validated(step.recipe.data, step.inputs[DATASET])
    settings = named_splits.settled(step, validated)
    step.recipe = step.recipe.model_copy(update={"preprocessing": settings})
    return validated


def _with_drawn(made: Made, splits: frozenset[str]) -> Made:
    """Return what was made, which says where splits were drawn because no row names them."""
    if not splits:
        return made
    corpus = made.outputs["corpus"]
    corpus = corpus.model_copy(update={"info": corpus.info | {"splits_drawn_from_train": sorted(splits)}})
    headline = f"{made.headline}; no row names {' or '.join(sorted(splits))}: drawn from train"
    return replace(made, outputs=made.outputs | {"corpus": corpus}, headline=headline)


def find_validated(data: Data, dataset: Manifest) -> list[tuple[Shard, str]]:
    """Return the dataset's shards where the data is now, with its types, and each with the sha256 that was validated.

    Args:
        data: The recipe's section.
        dataset: The manifest of the validated shards.

    Raises:
        UserError: A shard that was validated is gone.
    """
    there = {shard.path: shard for shard in shards.of(data, hashed=False)}
    gone = [entry.path for entry in dataset.entries if entry.path not in there]
    if gone:
        raise UserError(f"data.path: {gone[0]} was validated but is no longer there; run again")
    schema = columns.unpacked(dataset.info[columns.SCHEMA])
    return [(there[entry.path]._replace(schema=schema), entry.sha256) for entry in dataset.entries]
