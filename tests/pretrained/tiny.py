"""Tiny configurations and weights of any family."""

from typing import Any

import torch

from tests.families import SIZES, parameters_of

BLOCKS = 2


def config_of(family: str, **more: Any) -> Any:
    """Return a tiny configuration of a family; `more` counts where it has such a setting."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = CONFIG_MAPPING[family]
    known = parameters_of(kind)
    sizes = {name: BLOCKS if "layer" in name and size == 4 else size for name, size in SIZES.items()}
    return kind(**{name: value for name, value in (sizes | more).items() if name in known})


def model_of(head: str, config: Any) -> Any:
    """Return a model with weights so large that every part of it shows in its output."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, head).from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
            else:
                weight += 0.1 * torch.randn_like(weight)
    return model
