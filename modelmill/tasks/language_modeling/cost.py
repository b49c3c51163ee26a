"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.recipe.adapters import LINEAR, AdaptedFineTuning
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.language_modeling.recipe import Recipe
from modelmill.tasks.language_modeling.shape import LLAMA_SHAPED, Adapters, Decoder

UNIT: Literal["tokens", "samples"] = "tokens"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    length = recipe.preprocessing.sequence_length
    if known.weights is not None:
        if known.weights["model_type"] not in LLAMA_SHAPED:
            return None
        shape = Decoder.of(known.weights, known.weights["vocab_size"])
    else:
        shape = Decoder.of(recipe.model.model_dump(), known.vocabulary or recipe.preprocessing.tokenizer.vocab_size)
    adapters, windows = None, None
    if stage == "fine_tuning":
        adapters = _adapters(recipe.fine_tuning)
    elif known.corpus is not None:
        # How many windows pairs fill is not noted anywhere.
        windows = -(-known.corpus["splits"]["train"]["tokens"] // length)
    return Cost(shape.parameters, shape.flops(length, adapters), terms=length, examples=windows)


def _adapters(settings: AdaptedFineTuning | None) -> Adapters | None:
    if settings is None or not settings.adapted:
        return None
    return Adapters(settings.lora.rank, settings.named_modules or LINEAR)
