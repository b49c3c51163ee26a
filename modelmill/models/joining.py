"""The join of adapters with their base: the same weights, bit for bit, in training, evaluation and serving."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn


def join(model: Any, adapter: Path, dtype: torch.dtype) -> Any:
    """Return a model with adapters merged into its weights: in fp32, then rounded to the base's number format.

    Args:
        model: The base, changed in place.
        adapter: Folder with the adapters, as `peft` saves them.
        dtype: Number format that the base's weights came in.
    """
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model.float(), str(adapter))
    return rounded(adapted.merge_and_unload(safe_merge=True), dtype)


@torch.no_grad()
def rounded(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return the model with its weights in a number format, rounded in place; trained weights are fp32 until then.

    What `transformers` keeps in fp32 whatever the checkpoint's format (its `_keep_in_fp32_modules`) stays so.

    Args:
        model: The model.
        dtype: Number format of the weights.
    """
    plan: Any = getattr(model, "_get_dtype_plan", None)
    exact = [re.compile(rf"(^|\.){name}(\.|$)") for name in (plan(dtype) if plan else ())]
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not any(pattern.search(name) for pattern in exact):
            weight.data = weight.data.to(dtype)
    return model
