"""The parts of a model that get adapters: linear modules, and experts that are stored as one tensor."""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import nn

from modelmill.core.errors import UserError
from modelmill.recipe.adapters import ALL_LINEAR, AdaptedFineTuning

log = logging.getLogger("modelmill")
KEY = "fine_tuning.lora.target_modules"
# Blocks are numbered; what is outside of them (head, projections of the embedding) is not adapted unless it is named.
_IN_A_BLOCK = re.compile(r"\.\d+\.")
# Read as weights by the fused kernels of these architectures, so that adapters on them would do nothing.
_READ_AS_WEIGHTS = {"out_proj", "dt_proj", "x_proj"}
# Three axes of a weight are inputs, heads and a head's width here: no expert has a matrix of its own.
_WITHOUT_EXPERTS = {"xlnet"}
_STATE_SPACE = re.compile(r"mamba|falcon_h1|jamba|bamba|zamba|nemotron_h|granitemoehybrid")


class Targets(NamedTuple):
    """What adapters are added to, as `peft` takes it.

    Attributes:
        modules: Names of linear modules.
        parameters: Names of three-dimensional parameters, one matrix an expert.
        transposed: Whether the modules are `Conv1D` of `transformers`, whose weight is (inputs, outputs).
        places: Number of modules and parameters.
    """

    modules: list[str]
    parameters: list[str]
    transposed: bool
    places: int


def choose(model: Any, settings: AdaptedFineTuning, whole: Sequence[str] = ()) -> Targets:
    """Return what gets adapters in a model.

    Args:
        model: A model of `transformers`.
        settings: The stage's settings.
        whole: Names of modules that are trained whole, and so get none.

    Raises:
        UserError: A named module is not there or cannot have adapters, or there is nothing to adapt.
    """
    linear = [name for name in _linear(model) if not any(f"{name}.".startswith(f"{one}.") for one in whole)]
    experts, tied = _experts(model), _tied(model)
    if settings.lora.target_modules == ALL_LINEAR:
        modules = [n for n in linear if _IN_A_BLOCK.search(n) and n not in tied and _last(n) not in _unread(model)]
        modules = _not_taken(modules, model, log.warning)
        parameters = _supported([n for n in experts if _IN_A_BLOCK.search(n)], settings, log.warning)
    else:
        modules, parameters = _named(settings.named_modules, linear, experts)
        _require_apart(modules, tied)
        modules = _not_taken(modules, model, _refuse)
        parameters = _supported(parameters, settings, _refuse)
    if not modules and not parameters:
        raise UserError(f"{KEY}: {type(model).__name__} has no linear layer that can have adapters; set method: full")
    every = dict(model.named_modules())
    return Targets(
        modules=_shortened(modules, list(every)),
        parameters=_shortened(parameters, [n for n, _ in model.named_parameters()], parts=2),
        transposed=any(not isinstance(every[name], nn.Linear) for name in modules),
        places=len(modules) + len(parameters),
    )


def _linear(model: nn.Module) -> list[str]:
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _experts(model: Any) -> list[str]:
    """Return the names of parameters with a matrix an expert: three-dimensional, in a module that is not torch's."""
    if model.config.model_type in _WITHOUT_EXPERTS:
        return []
    return [
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if not type(module).__module__.startswith("torch.nn")
        for parameter, weight in module.named_parameters(recurse=False)
        if weight.ndim == 3 and min(weight.shape) > 1
    ]


def _tied(model: Any) -> set[str]:
    """Return the names of modules that share their weights with the embedding."""
    try:
        shared = getattr(model.get_input_embeddings(), "weight", None)
    except NotImplementedError:  # of networks without an embedding
        return set()
    if shared is None:
        return set()
    return {name for name, module in model.named_modules() if getattr(module, "weight", None) is shared}


def _unread(model: Any) -> set[str]:
    kind = str(model.config.model_type)
    return _READ_AS_WEIGHTS if _STATE_SPACE.search(kind) else set()


def _named(names: list[str], linear: list[str], experts: list[str]) -> tuple[list[str], list[str]]:
    modules, parameters = ([one for one in there if _is_any(one, names)] for there in (linear, experts))
    for name in sorted(names):
        if not any(_is_any(one, [name]) for one in (*modules, *parameters)):
            known = ", ".join(sorted({_last(one) for one in (*linear, *experts)}))
            raise UserError(f"{KEY}: the model has no module {name!r}; it has {known}")
    return modules, parameters


def _require_apart(modules: list[str], tied: set[str]) -> None:
    if both := sorted(_last(name) for name in modules if name in tied):
        raise UserError(
            f"{KEY}: {both[0]} shares its weights with the embedding, which would change with it; leave it out"
        )


def _supported(experts: list[str], settings: AdaptedFineTuning, tell: Callable[[str], None]) -> list[str]:
    """Return the experts, if `peft` has adapters of this kind for them."""
    obstacles = {"method: dora": settings.method == "dora", "lora.dropout": bool(settings.lora.dropout)}
    in_the_way = [name for name, applies in obstacles.items() if applies]
    if not experts or not in_the_way:
        return experts
    names = ", ".join(sorted({_last(name) for name in experts}))
    tell(f"{KEY}: experts ({names}) can have no adapters with {' or '.join(in_the_way)}; peft has none for them")
    return []


def _not_taken(modules: list[str], model: Any, tell: Callable[[str], None]) -> list[str]:
    """Return the modules without those whose names `peft` takes for experts: shared experts, first dense blocks.

    In models that had a module an expert before transformers 5, it adapts the experts' tensors in their place.
    """
    from peft.utils import transformers_weight_conversion as conversion

    families = getattr(conversion, "_MODEL_TO_CONVERSION_PATTERN", {})
    renamed = getattr(conversion, "_MOE_TARGET_MODULE_MAPPING", {}).get(families.get(model.config.model_type), {})
    taken = sorted({_last(name) for name in modules if _last(name) in renamed})
    if taken:
        tell(f"{KEY}: {', '.join(taken)} outside of the experts can have no adapters; peft takes the names for experts")
    return [name for name in modules if _last(name) not in renamed]


def _refuse(why: str) -> None:
    raise UserError(f"{why}; leave them out")


def _is_any(name: str, targets: list[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _shortened(chosen: list[str], every: list[str], parts: int = 1) -> list[str]:
    """Return the last parts of the chosen names, where they fit no other name, else the names in full."""
    short = sorted({".".join(name.split(".")[-parts:]) for name in chosen})
    return short if [name for name in every if _is_any(name, short)] == chosen else sorted(chosen)
