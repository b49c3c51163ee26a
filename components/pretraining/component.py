"""The KFP face of pretraining."""

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
