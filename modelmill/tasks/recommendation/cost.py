"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import attention, held, linear, product, said
from modelmill.tasks.recommendation.recipe import Recipe

# Of the catalogue, where nothing is known of it.
ITEMS = 1000

UNIT: Literal["tokens", "samples"] = "tokens"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    length, width = recipe.preprocessing.sequence_length, recipe.model.hidden_size
    items = known.corpus["items"] if known.corpus is not None else ITEMS
    block = linear(width, 3 * width, length) + linear(width, width, length) * 3 + attention(length, length, width)
    work = held((items + 1 + length) * width + 2 * width) + (block + held(4 * width)) * recipe.model.num_hidden_layers
    scores = product(items * width, length)
    assumed = said(
        "" if known.corpus is not None else f"a catalogue of {ITEMS:,} items", f"{length} learned items a history"
    )
    return Cost(work.parameters, work.flops + scores.flops, terms=length, assumed=assumed)
