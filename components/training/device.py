"""The device, its number format, and the switches that make a run repeatable."""

import contextlib
import os
import random

import numpy as np
import torch

from components.common.recipe import Training


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_everything(seed: int) -> None:
    """Seed every generator and allow only kernels that give the same bits each time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory would cost a tenth of a step, and no kernel of ours reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def autocast(
    device: torch.device, settings: Training, mixed_precision: bool
) -> contextlib.AbstractContextManager[None]:
    """bf16 matrix products over fp32 weights: as the recipe says, or where the hardware and the task gain by it."""
    automatic = settings.precision == "auto" and mixed_precision and _has_bf16(device)
    if settings.precision == "bf16" or automatic:
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported())
