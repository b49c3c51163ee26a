"""The KFP face of evaluation."""

from kfp import dsl

from modelmill.core.image import image_of


@dsl.component(base_image=image_of("evaluation"), install_kfp_package=False)
def evaluation(
    recipe: str,
    store: str,
    run_id: str,
    corpus: dsl.Input[dsl.Artifact],
    pretrained: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Artifact],
    evaluation: dsl.Output[dsl.Artifact],
) -> bool:
    """Measure the models on the held-out split; true if the gate lets the model pass."""
    from modelmill.components.evaluation.step import run

    values = run(
        recipe=recipe,
        store=store,
        run_id=run_id,
        corpus=corpus.path,
        pretrained=pretrained.path,
        model=model.path,
        evaluation=evaluation.path,
    )
    return values["passed"]
