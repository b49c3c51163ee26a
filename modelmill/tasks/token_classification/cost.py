"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import attention, held, linear, said, sizes_of
from modelmill.tasks.token_classification.recipe import Recipe

UNIT: Literal["tokens", "samples"] = "tokens"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage; None where the checkpoint is not known.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    if known.weights is None:
        return None
    length = recipe.preprocessing.sequence_length
    try:
        vocabulary, width, blocks, inner, positions = sizes_of(known.weights)
    except LookupError:
        return None
    block = linear(width, width, length) * 4 + attention(length, length, width) + held(4 * width)
    block += linear(width, inner, length) + linear(inner, width, length)
    tags, words, of_words = _tags_and_words(recipe, known)
    work = held((vocabulary + positions + 2) * width + 2 * width) + block * blocks + linear(width, tags, length)
    assumed = f"texts of {length} tokens, the most that the recipe takes"
    return Cost(work.parameters, work.flops, terms=words, assumed=said(assumed, of_words))


def _tags_and_words(recipe: Recipe, known: RunFacts) -> tuple[int, float, str]:
    """Return how many tags there are and words in a window, and what of it is assumed."""
    if known.corpus is not None:
        examples = known.corpus["splits"]["train"]["examples"]
        return len(known.corpus["classes"]), known.corpus["words_of"]["train"] / examples, ""
    kinds = recipe.preprocessing.entities
    return 2 * len(kinds or ["one"]) + 1, recipe.preprocessing.sequence_length, "" if kinds else "one kind of entity"
