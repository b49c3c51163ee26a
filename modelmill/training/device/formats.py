"""The number format of weights: the one that they came in, in training and when they are saved."""

from pathlib import Path

import torch

from modelmill.runtime import weights
from modelmill.training.device.precision import has_bf16

# Weights in any other format (fp64, fp8) are computed with and saved in fp32.
_KNOWN = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def came_in(folder: Path) -> torch.dtype:
    """Return the number format of most bytes of a model's weights; fp32 for one that is not computed with (fp8).

    Args:
        folder: The model's folder; one shard or several.
    """
    return _KNOWN.get(weights.dtype_of(folder), torch.float32)


def in_memory(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the number format in which frozen weights are held: their own, or fp32 where the hardware has none.

    Args:
        dtype: Number format of the weights.
        device: Where they are used.
    """
    fits = has_bf16(device) and not (device.type == "cpu" and dtype == torch.float16)
    return dtype if fits else torch.float32
