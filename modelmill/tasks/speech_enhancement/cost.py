"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import held, linear, product
from modelmill.tasks.speech_enhancement.recipe import Recipe

KERNEL = 3

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    model, rate = recipe.model, recipe.preprocessing.sample_rate
    window = 4 * round(model.window_seconds * rate / 4)
    bands, channels = window // 2 + 1, model.channels
    frames = round(model.segment_seconds * rate) // (window // 4) + 1
    block = linear(channels, channels, frames) * 2 + product(channels * KERNEL, frames, bias=channels)
    work = linear(bands, channels, frames, reads_data=True) + linear(channels, bands, frames)
    work += (block + held(2 * channels)) * model.blocks
    assumed = f"recordings of {model.segment_seconds:g} s or more"
    return Cost(work.parameters, work.flops, assumed=assumed)
