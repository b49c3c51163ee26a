"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.corpus.settings import ONLY
from modelmill.tasks.character_modeling.recipe import Recipe
from modelmill.tasks.character_modeling.symbols import SYMBOLS
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import Work, held, linear, product

UNIT: Literal["tokens", "samples"] = "tokens"
GATES = {"lstm": 4, "gru": 3}


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    model, settings = recipe.model, recipe.preprocessing
    gates, hidden = GATES[model.type], model.hidden_size
    work = held(SYMBOLS * model.embedding_size) + linear(hidden, SYMBOLS, settings.length)
    for layer in range(model.num_layers):
        inputs = hidden if layer else model.embedding_size
        weights = gates * hidden * (inputs + hidden)
        work += product(weights, settings.length, bias=2 * gates * hidden)
        # The warm-up is read without gradients.
        work += Work(0, weights * settings.warm_up)
    symbols = known.rows.get(f"train/{stage}/tokens.npy", known.rows.get(f"train/{ONLY}/tokens.npy"))
    windows = -(-symbols // settings.length) if symbols else None
    return Cost(work.parameters, work.flops, terms=settings.length, examples=windows)
