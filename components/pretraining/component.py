"""The KFP faces of pretraining: followed by fine-tuning, or the only stage."""

from kfp import dsl

from modelmill.core.image import image_of


@dsl.component(base_image=image_of("pretraining"), install_kfp_package=False)
def pretraining(
    recipe: str,
    store: str,
    run_id: str,
    corpus: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Artifact],
) -> None:
    """Train from random initialisation or from given weights on the corpus."""
    from modelmill.components.pretraining.step import run

    run(recipe=recipe, store=store, run_id=run_id, corpus=corpus.path, model=model.path)


@dsl.component(base_image=image_of("pretraining"), install_kfp_package=False)
def only_pretraining(
    recipe: str,
    store: str,
    run_id: str,
    corpus: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Artifact],
    fine_tuned: dsl.Output[dsl.Artifact],
) -> None:
    """Pretrain where the recipe has no fine-tuning; `fine_tuned` hands the model on."""
    from modelmill.components.pretraining.step import run_alone

    run_alone(
        recipe=recipe,
        store=store,
        run_id=run_id,
        corpus=corpus.path,
        model=model.path,
        fine_tuned=fine_tuned.path,
    )
