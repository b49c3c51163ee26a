"""What training computes, for `modelmill plan`, from the recipe alone."""

from itertools import pairwise
from typing import Literal

from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import Work, classes_of, linear
from modelmill.tasks.tabular_classification.recipe import Recipe

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    if known.weights is not None:
        features, hidden, outputs = len(known.weights["features"]), known.weights["hidden"], known.weights["outputs"]
        assumed = ""
    else:
        classes, assumed = classes_of(recipe, recipe.preprocessing.label, known.corpus)
        features, hidden, outputs = (
            len(recipe.preprocessing.features),
            recipe.model.hidden,
            1 if classes == 2 else classes,
        )
    widths = [features, *hidden, outputs]
    layers = (linear(a, b, reads_data=not n) for n, (a, b) in enumerate(pairwise(widths)))
    work = sum(layers, Work())
    rows = sum(known.corpus["splits"]["train"].values()) if known.corpus else None
    return Cost(work.parameters, work.flops, examples=rows, assumed=assumed)
