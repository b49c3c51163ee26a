"""The number format of weights: the one that they came in, in training and when they are saved."""

import math
from collections import Counter
from pathlib import Path

import torch

from modelmill.training.device.precision import has_bf16

# By their names in a safetensors header. Weights in any other format (fp64, fp8) are computed with and saved in fp32.
_KNOWN = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def came_in(folder: Path) -> torch.dtype:
    """Return the number format of most bytes of a model's weights, from the headers of its safetensors files.

    Args:
        folder: The model's folder; one shard or several.
    """
    from safetensors import safe_open

    sizes: Counter[str] = Counter()
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no dictionary
                tensor = opened.get_slice(name)
                sizes[tensor.get_dtype()] += math.prod(tensor.get_shape())
    return _KNOWN.get(max(sizes, key=lambda name: sizes[name], default="F32"), torch.float32)


def in_memory(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the number format in which frozen weights are held: their own, or fp32 where the hardware has none.

    Args:
        dtype: Number format of the weights.
        device: Where they are used.
    """
    fits = has_bf16(device) and not (device.type == "cpu" and dtype == torch.float16)
    return dtype if fits else torch.float32
