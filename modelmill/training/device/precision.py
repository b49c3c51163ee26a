"""The number format in which matrices are multiplied."""

import contextlib

import torch

from modelmill.recipe import Training


def compute_dtype(device: torch.device, settings: Training, mixed_precision: bool) -> torch.dtype:
    """Return the number format of a model's matrix products: the recipe's, or bf16 where hardware and task gain by it.

    Args:
        device: Where the model is.
        settings: `precision` is `auto`, `bf16` or `fp32`.
        mixed_precision: Whether the task gains by bf16.
    """
    automatic = settings.precision == "auto" and mixed_precision and has_bf16(device)
    return torch.bfloat16 if settings.precision == "bf16" or automatic else torch.float32


def product_dtype(device: torch.device, settings: Training) -> torch.dtype:
    """Return the number format of matrix products that need few digits, such as an optimizer's.

    Args:
        device: Where the matrices are.
        settings: With `precision: fp32`, nothing is multiplied in bf16.
    """
    return torch.bfloat16 if settings.precision != "fp32" and has_bf16(device) else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
    """Return a block whose matrix products are in `dtype` over fp32 weights."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def has_bf16(device: torch.device) -> bool:
    """Return whether the hardware multiplies in bf16: without, a product in it is many times slower than in fp32.

    A CPU that was told to keep to AVX2 (`ATEN_CPU_CAPABILITY=avx2`) has none.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
