"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.models.architectures import ARCHITECTURES
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import classes_of, linear, of_layers
from modelmill.tasks.image_classification.recipe import PretrainedImageModel, Recipe

ROTATIONS = 4

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage; None where a checkpoint decides the network.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    model, settings = recipe.model, recipe.preprocessing
    if isinstance(model, PretrainedImageModel):
        return None
    layers = ARCHITECTURES[model.architecture](settings.channels, model.width, model.stages, model.depth)
    assumed = ""
    if stage == "pretraining":
        classes = len(settings.other_classes) or ROTATIONS
    elif settings.classes is not None:
        classes = len(settings.classes)
    else:
        classes, assumed = classes_of(recipe, settings.label, known.corpus)
    work = of_layers(layers, settings.size) + linear(model.width * 2 ** (model.stages - 1), classes)
    return Cost(work.parameters, work.flops, assumed=assumed)
