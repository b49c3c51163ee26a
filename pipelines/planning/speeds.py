"""How fast trainings were that the store remembers, as the measure for those to come."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from modelmill.core.units import prefixed
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import STAGES
from modelmill.runtime import memo
from modelmill.store import Store


class Speed(NamedTuple):
    """The speed of a training.

    Attributes:
        flops_per_second: Of one device.
        other_seconds: Time beside the steps, for compiling and measuring.
        source: Which training it was, in words.
    """

    flops_per_second: float
    other_seconds: float
    source: str

    def seconds(self, flops: float) -> float:
        """Return the seconds that one device takes for a training of so many FLOPs."""
        return flops / self.flops_per_second + self.other_seconds


def find(step: str, recipe: Recipe, store: Store) -> Speed | None:
    """Return the speed of the recipe's step when it last ran, else of another training of the same task.

    Args:
        step: The step's name.
        recipe: The resolved recipe.
        store: Where earlier trainings are remembered.
    """
    return next(_speeds(step, recipe, store), None)


def _speeds(step: str, recipe: Recipe, store: Store) -> Iterator[Speed]:
    stages = sorted(STAGES, key=lambda stage: stage != step)
    others = ((stage, name) for stage in stages for name in memo.recipes_with(store, stage))
    for stage, name in (*((stage, recipe.name) for stage in stages), *others):
        finished = memo.last(store, stage, name)
        if finished and finished.document["settings"]["task"] == recipe.task:
            own_name = "it" if stage == step else stage
            yield from _of(finished.metrics, own_name if name == recipe.name else f"{stage} of {name}")


def _of(metrics: dict[str, Any], source: str) -> Iterator[Speed]:
    """Yield the speed of a training, unless it was too short to be measured or its version measured less."""
    if not {"model_flops", "model_flops_per_second", "devices", "device"} <= metrics.keys():
        return
    rate = metrics["model_flops_per_second"] / metrics["devices"]
    other = max(0.0, metrics["device_seconds"] - metrics["model_flops"] / rate)
    yield Speed(rate, other, f"{source} last ran at {prefixed(rate, 'FLOP/s')} on {metrics['device']}")
