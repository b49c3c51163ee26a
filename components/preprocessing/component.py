"""The KFP faces of preprocessing: fitting and encoding ahead of the step, side by side, and the step itself."""

from kfp import dsl

from modelmill.core.image import image_of


@dsl.component(base_image=image_of("preprocessing"), install_kfp_package=False)
def fitting(recipe: str, store: str, dataset: dsl.Input[dsl.Artifact]) -> bool:
    """Fit the tokenizer or scaler before shards are encoded side by side."""
    from modelmill.components.preprocessing.step import fit_ahead

    fit_ahead(recipe=recipe, store=store, dataset=dataset.path)
    return True


@dsl.component(base_image=image_of("preprocessing"), install_kfp_package=False)
def shard_encoding(
    recipe: str, store: str, fitted: bool, group: int, groups: int, dataset: dsl.Input[dsl.Artifact]
) -> int:
    """Encode one group of shards ahead of the step, which finds them; return how many were encoded."""
    from modelmill.components.preprocessing.step import encode_group

    return encode_group(recipe=recipe, store=store, dataset=dataset.path, group=group, groups=groups)


@dsl.component(base_image=image_of("preprocessing"), install_kfp_package=False)
def preprocessing(
    recipe: str,
    store: str,
    run_id: str,
    dataset: dsl.Input[dsl.Artifact],
    corpus: dsl.Output[dsl.Artifact],
    encoded: list = [],  # noqa: B006 - KFP's way to wait for every group
) -> None:
    """Split, fit the tokenizer or scaler on the training split, encode the shards."""
    from modelmill.components.preprocessing.step import run

    run(recipe=recipe, store=store, run_id=run_id, dataset=dataset.path, corpus=corpus.path)
