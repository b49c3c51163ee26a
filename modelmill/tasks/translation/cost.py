"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import attention, held, linear
from modelmill.tasks.translation.recipe import Recipe

# Positions that mBART's table has beside those that are asked for.
OFFSET = 2

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    length = recipe.preprocessing.sequence_length
    vocabulary = known.vocabulary or recipe.preprocessing.tokenizer.vocab_size
    if known.corpus is not None:
        vocabulary = known.corpus["vocab_size"]
    if known.weights is not None:
        width, layers, inner = (known.weights[key] for key in ("d_model", "encoder_layers", "encoder_ffn_dim"))
        vocabulary = known.weights["vocab_size"]
    else:
        width, layers, inner = recipe.model.d_model, recipe.model.layers, recipe.model.ffn_dim
    attended = linear(width, width, length) * 4 + attention(length, length, width) + held(2 * width)
    forward = linear(width, inner, length) + linear(inner, width, length) + held(2 * width)
    positions = held((length + OFFSET) * width)
    # Both halves have norms before the first and after the last block; the embedding is the last matrix, too.
    halves = (positions + held(4 * width)) * 2
    work = held(vocabulary * width) + halves + (attended + forward) * layers + (attended * 2 + forward) * layers
    scores = linear(width, vocabulary, length, bias=False)
    assumed = f"texts of {length} tokens, the most that the recipe takes"
    return Cost(work.parameters, work.flops + scores.flops, terms=length, assumed=assumed)
