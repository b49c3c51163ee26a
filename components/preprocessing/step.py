"""The preprocessing step: validated shards in, arrays that a model reads out."""

from typing import Any

from modelmill.core.errors import UserError
from modelmill.data import shards
from modelmill.data.shards import Shard
from modelmill.recipe import task_packages
from modelmill.recipe.sections import Data
from modelmill.recipe.step_specs import DATASET
from modelmill.runtime.step_runtime import Made, Step, run_step, work_ahead
from modelmill.store.manifest import Manifest


def run(*, recipe: str, store: str, run_id: str, dataset: str, corpus: str) -> None:
    """Make the corpus of a dataset; `dataset` and `corpus` are files that hold manifests."""
    run_step(
        "preprocessing",
        make,
        recipe=recipe,
        store=store,
        run_id=run_id,
        inputs={DATASET: dataset},
        outputs={"corpus": corpus},
    )


def make(step: Step) -> Made:
    return _task(step).preprocess(step, _found(step))


def fit_ahead(*, recipe: str, store: str, dataset: str) -> None:
    """Fit the tokenizer or scaler and decide what is left out, for the step and `encode_group` to find."""

    def work(step: Step) -> int:
        if hasattr(task := _task(step), "fit"):
            task.fit(step, _found(step))
        return 0

    work_ahead("preprocessing", work, recipe=recipe, store=store, inputs={DATASET: dataset})


def encode_group(*, recipe: str, store: str, dataset: str, group: int, groups: int) -> int:
    """Encode every `groups`-th shard, from number `group` on, for the step to find; nothing if it is finished.

    Returns:
        How many shards were encoded.
    """

    def work(step: Step) -> int:
        task, found = _task(step), _found(step)
        if not hasattr(task, "encode"):
            return 0
        return int(task.encode(step, found, task.fit(step, found), range(group, len(found), groups))[1])

    return work_ahead("preprocessing", work, recipe=recipe, store=store, inputs={DATASET: dataset})


def _task(step: Step) -> Any:
    """The task's module that has `preprocess` and, where work can be done ahead, its two halves `fit` and `encode`."""
    return task_packages.part(step.recipe.task, "preprocess")


def _found(step: Step) -> list[tuple[Shard, str]]:
    return find_validated(step.recipe.data, step.inputs[DATASET])


def find_validated(data: Data, dataset: Manifest) -> list[tuple[Shard, str]]:
    """The dataset's shards where the data is now, each with the sha256 that was validated.

    Raises:
        UserError: a shard that was validated is gone.
    """
    there = {shard.path: shard for shard in shards.of(data)}
    gone = [entry.path for entry in dataset.entries if entry.path not in there]
    if gone:
        raise UserError(f"data.path: {gone[0]} was validated but is no longer there; run again")
    return [(there[entry.path], entry.sha256) for entry in dataset.entries]
