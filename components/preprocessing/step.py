"""The preprocessing step: validated shards in, arrays that a model reads out."""

from components.common import shards
from components.common.errors import UserError
from components.common.manifest import Manifest
from components.common.shards import Shard
from components.common.step import Made, Step, run_step

DATASET = "data_validation.dataset"


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
    found = find_validated(step.recipe.data.path, step.recipe.data.format, step.inputs[DATASET])
    if step.recipe.task == "language_modeling":
        from components.preprocessing import language_modeling

        return language_modeling.preprocess(step, found)
    from components.preprocessing import tabular

    return tabular.preprocess(step, found)


def find_validated(path: str, format: str, dataset: Manifest) -> list[tuple[Shard, str]]:
    """The dataset's shards where the data is now, each with the sha256 that was validated.

    Raises:
        UserError: a shard that was validated is gone.
    """
    there = {shard.path: shard for shard in shards.find(path, format)}
    gone = [entry.path for entry in dataset.entries if entry.path not in there]
    if gone:
        raise UserError(f"data.path: {gone[0]} was validated but is no longer there; run again")
    return [(there[entry.path], entry.sha256) for entry in dataset.entries]
