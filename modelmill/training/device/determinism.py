"""Seeds, and the switches that make a run repeatable."""

import os
import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed every generator and allow only kernels that give the same bits each time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    # Like torch.use_deterministic_algorithms(True), without its import of the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error")
    # Filling fresh memory would cost a tenth of a step, and no kernel of ours reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed PyTorch's generators for a step, as a function of seed, step and rank.

    So a training that resumes from a checkpoint, on any number of processes, has no random state to restore.

    Args:
        seed: The recipe's seed.
        step: The step, from 0.
        rank: This process's rank.
        device: The device of this process.
    """
    mixed = int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)
