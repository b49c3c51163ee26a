"""The data_validation component: the KFP face of the step."""

from kfp import dsl

from components.common.image import image_of


@dsl.component(base_image=image_of("data_validation"), install_kfp_package=False)
def data_validation(
    recipe: str,
    store: str,
    run_id: str,
    dataset: dsl.Output[dsl.Artifact],
    validation: dsl.Output[dsl.Artifact],
) -> None:
    """Hold every row of the data against its Great Expectations suite; fail the run when the suite is not met."""
    from components.data_validation.step import run

    run(recipe=recipe, store=store, run_id=run_id, dataset=dataset.path, validation=validation.path)
