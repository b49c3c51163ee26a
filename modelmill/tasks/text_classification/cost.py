"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import attention, classes_of, held, linear, said, sizes_of
from modelmill.tasks.text_classification.recipe import EncoderModel, Recipe

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage; None where a checkpoint decides the network that is not known.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    length = recipe.preprocessing.sequence_length
    if known.weights is not None:
        vocabulary, width, blocks, inner, positions = sizes_of(known.weights)
    elif not isinstance(recipe.model, EncoderModel):
        return None
    else:
        model = recipe.model
        width, blocks, inner, positions = model.hidden_size, model.num_hidden_layers, model.intermediate_size, length
        vocabulary = known.vocabulary or recipe.preprocessing.tokenizer.vocab_size
    if known.corpus is not None and isinstance(recipe.model, EncoderModel):
        vocabulary = known.corpus["vocab_size"]
    block = linear(width, width, length) * 4 + attention(length, length, width) + held(4 * width)
    block += linear(width, inner, length) + linear(inner, width, length)
    work = held((vocabulary + positions + 2) * width + 2 * width) + block * blocks
    assumed = f"texts of {length} tokens, the most that the recipe takes"
    if stage == "fine_tuning":
        classes, of_classes = classes_of(recipe, recipe.preprocessing.label, known.corpus)
        work += linear(width, width) + linear(width, classes)
        return Cost(work.parameters, work.flops, assumed=said(assumed, of_classes))
    assert isinstance(recipe.model, EncoderModel)
    hidden = max(1, round((length - 2) * recipe.model.masked))
    # The embedding is the matrix of the last layer, too.
    work += linear(width, width, hidden) + held(2 * width + vocabulary)
    scores = linear(width, vocabulary, hidden)
    return Cost(work.parameters, work.flops + scores.flops, assumed=assumed)
