"""The KFP faces of fine-tuning: after pretraining, or the only stage."""

from kfp import dsl

from modelmill.core.image import image_of


@dsl.component(base_image=image_of("fine_tuning"), install_kfp_package=False)
def fine_tuning(
    recipe: str,
    store: str,
    run_id: str,
    corpus: dsl.Input[dsl.Artifact],
    pretrained: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Artifact],
) -> None:
    """Train the pretrained weights, or adapters on them, on the task's examples."""
    from modelmill.components.fine_tuning.step import run

    run(
        recipe=recipe,
        store=store,
        run_id=run_id,
        corpus=corpus.path,
        pretrained=pretrained.path,
        model=model.path,
    )


@dsl.component(base_image=image_of("fine_tuning"), install_kfp_package=False)
def only_fine_tuning(
    recipe: str,
    store: str,
    run_id: str,
    corpus: dsl.Input[dsl.Artifact],
    pretrained: dsl.Output[dsl.Artifact],
    model: dsl.Output[dsl.Artifact],
) -> None:
    """Train from nothing where the recipe has no pretraining; `pretrained` names no weights."""
    from modelmill.components.fine_tuning.step import run_alone

    run_alone(
        recipe=recipe,
        store=store,
        run_id=run_id,
        corpus=corpus.path,
        pretrained=pretrained.path,
        model=model.path,
    )
