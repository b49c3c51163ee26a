"""The KFP faces of data validation: looking for new data, scanning groups of shards, and the step itself."""

from typing import NamedTuple

from kfp import dsl

from modelmill.core.image import image_of


@dsl.component(base_image=image_of("data_validation"), install_kfp_package=False)
def shard_scan(recipe: str, store: str, group: int, groups: int) -> int:
    """Scan one group of shards ahead of the step, which finds their states; return how many shards were read."""
    from modelmill.components.data_validation.step import scan_group

    return scan_group(recipe=recipe, store=store, group=group, groups=groups)


@dsl.component(base_image=image_of("data_validation"), install_kfp_package=False)
def look(recipe: str, store: str, run_id: str) -> bool:
    """Tell whether the data or the recipe has changed since a run came to an end with them; read names only."""
    from modelmill.components.data_validation.step import has_changed

    return has_changed(recipe=recipe, store=store, run_id=run_id)


@dsl.component(base_image=image_of("data_validation"), install_kfp_package=False)
def data_validation(
    recipe: str,
    store: str,
    run_id: str,
    dataset: dsl.Output[dsl.Artifact],
    validation: dsl.Output[dsl.Artifact],
    scanned: list = [],  # noqa: B006 - KFP's way to wait for every group
) -> NamedTuple("Outputs", [("drifted", bool), ("drift", float)]):  # type: ignore[valid-type]
    """Hold every row of the data against its Great Expectations suite; fail the run when the suite is not met.

    `drifted` and `drift` (the largest population stability index) compare it with the registered model's data.
    """
    from modelmill.components.data_validation.step import run

    values = run(recipe=recipe, store=store, run_id=run_id, dataset=dataset.path, validation=validation.path)
    return values["drifted"], values["drift"]


@dsl.component(base_image=image_of("data_validation"), install_kfp_package=False)
def reason_to_train(recipe: str, store: str, run_id: str, drifted: bool) -> bool:
    """Tell whether validated data is a reason to train (`data.retrain`).

    It has a component of its own because a condition on one of several outputs is never true in KFP's local runner.
    """
    from modelmill.components.data_validation.step import is_reason_to_train

    return is_reason_to_train(recipe=recipe, store=store, run_id=run_id)
