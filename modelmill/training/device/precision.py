"""The number format in which matrices are multiplied."""

import contextlib

import torch

from modelmill.recipe import Training


def compute_dtype(device: torch.device, settings: Training, mixed_precision: bool) -> torch.dtype:
    """What matrices are multiplied in: as the recipe says, or bf16 where the hardware and the task gain by it."""
    automatic = settings.precision == "auto" and mixed_precision and has_bf16(device)
    return torch.bfloat16 if settings.precision == "bf16" or automatic else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
    """Matrix products in `dtype` over fp32 weights."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported())
