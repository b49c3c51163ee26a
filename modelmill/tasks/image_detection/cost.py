"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.recipe.pretrained import PretrainedModel
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import Work, held, product
from modelmill.tasks.image_detection.recipe import Recipe

UNIT: Literal["tokens", "samples"] = "samples"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage; None of a checkpoint's detector, whose pictures differ in size.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    if isinstance(recipe.model, PretrainedModel):
        return None
    width, settings = recipe.model.width, recipe.preprocessing
    side = settings.single_side if stage == "pretraining" else settings.side
    half, fine, coarse = (-(-side // stride) for stride in (2, 4, 8))
    work = (
        _layer(3, width, half, reads_data=True)
        + _layer(width, 2 * width, fine)
        + _layer(2 * width, 2 * width, fine) * 3
        + _layer(2 * width, 4 * width, coarse)
        + _layer(4 * width, 4 * width, coarse)
        + _layer(4 * width, 2 * width, coarse, kernel=1)
    )
    classes = len(settings.classes)
    work += product(2 * width * classes, fine**2, bias=classes)
    sides = product(2 * width * 4, fine**2, bias=4)
    # Single objects say nothing of boxes: their head computes, and learns nothing.
    work += Work(sides.parameters, sides.forward, 0 if stage == "pretraining" else sides.backward)
    return Cost(work.parameters, work.flops)


def _layer(inputs: int, outputs: int, side: int, kernel: int = 3, reads_data: bool = False) -> Work:
    return product(inputs * outputs * kernel**2, side**2, reads_data=reads_data) + held(2 * outputs)
