"""The KFP face of preprocessing."""

from kfp import dsl

from components.common.image import image_of


@dsl.component(base_image=image_of("preprocessing"), install_kfp_package=False)
def preprocessing(
    recipe: str,
    store: str,
    run_id: str,
    dataset: dsl.Input[dsl.Artifact],
    corpus: dsl.Output[dsl.Artifact],
) -> None:
    """Split, fit the tokenizer or scaler on the training split, encode the shards."""
    from components.preprocessing.step import run

    run(recipe=recipe, store=store, run_id=run_id, dataset=dataset.path, corpus=corpus.path)
