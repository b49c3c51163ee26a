"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import of_layers
from modelmill.tasks.image_generation.layouts import discriminator, generator
from modelmill.tasks.image_generation.recipe import Recipe

# How often the discriminator's products are computed of one image: twice forward, of real and generated images; twice
# for the slopes at them and four times backward through these; four times backward; and forward and backward once more
# for what the generator is taught.
PASSES = 14

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    latent, width = recipe.model.latent, recipe.model.width
    channels, size = recipe.preprocessing.channels, recipe.preprocessing.size
    makes = of_layers(generator(latent, channels, size, width), 1)
    judges = of_layers(discriminator(channels, size, width), size)
    parameters = makes.parameters + judges.parameters
    return Cost(parameters, makes.flops + 2.0 * PASSES * judges.forward)
