"""The KFP face of registration."""

from kfp import dsl

from modelmill.core.image import image_of


@dsl.component(base_image=image_of("registration"), install_kfp_package=False)
def registration(
    recipe: str,
    store: str,
    run_id: str,
    passed: bool,
    dataset: dsl.Input[dsl.Artifact],
    validation: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Artifact],
    evaluation: dsl.Input[dsl.Artifact],
    registration: dsl.Output[dsl.Artifact],
) -> None:
    """Register a model that passed its gate in MLflow, once, and check every file of it.

    Args:
        recipe: The recipe's key in the store.
        store: URI of the object store.
        run_id: Under which the run's records are kept.
        passed: The gate's verdict as the DAG saw it.
        dataset: What the model was trained on.
        validation: The data's verdict.
        model: The model to register.
        evaluation: Its metrics and the gate's verdict.
        registration: Name and version of the registered model.
    """
    from modelmill.components.registration.step import run

    run(
        recipe=recipe,
        store=store,
        run_id=run_id,
        passed=passed,
        dataset=dataset.path,
        validation=validation.path,
        model=model.path,
        evaluation=evaluation.path,
        registration=registration.path,
    )
