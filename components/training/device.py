"""The device, its number format, and the switches that make a run repeatable and quick."""

import contextlib
import ctypes
import math
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from components.common.recipe import Training

# From <malloc.h>: keep what is freed, and take large blocks from the heap instead of mapping each anew.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_everything(seed: int) -> None:
    """Seed every generator and allow only kernels that give the same bits each time."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    # The same as torch.use_deterministic_algorithms(True), without its import of the compiler, which takes a second.
    torch.set_deterministic_debug_mode("error")
    # Filling fresh memory would cost a tenth of a step, and no kernel of ours reads what it has not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed PyTorch's generators for a step: its random numbers are then a function of seed, step and rank, and a
    training that goes on from a checkpoint, on any number of processes, has none to bring back.
    """
    mixed = int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)


def reuse_freed_memory() -> None:
    """Let the C library keep freed memory for the next step; without glibc, nothing happens.

    Otherwise each large tensor on a CPU is mapped, filled with zeros page by page, and unmapped again, which is up to
    a third of a training step.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def thread_beside_training(name: str) -> ThreadPoolExecutor:
    """One thread whose PyTorch operators run on it alone.

    GNU OpenMP gives every thread that runs a parallel operator a team of its own, and once teams have more threads than
    there are cores, all of them sleep where they would have spun: a recurrent layer, which waits at each step in time,
    then takes three times as long, for the rest of the process.
    """

    def keep_to_one() -> None:
        torch.get_num_threads()  # which sets the number the first time that a thread asks
        threadpool_limits(1, user_api="openmp")

    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=keep_to_one)


def compute_dtype(device: torch.device, settings: Training, mixed_precision: bool) -> torch.dtype:
    """What matrices are multiplied in: as the recipe says, or bf16 where the hardware and the task gain by it."""
    automatic = settings.precision == "auto" and mixed_precision and _has_bf16(device)
    return torch.bfloat16 if settings.precision == "bf16" or automatic else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[None]:
    """Matrix products in `dtype` over fp32 weights."""
    return contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of one large matrix product by itself, from memory to memory: what a training could reach at most.

    The best of half a second of tries with as many threads as the training has, so that neither the first ones, which
    warm up, nor what else the machine does counts. A CPU is fastest where three matrices fit into its caches, a GPU
    where they keep all of it busy. The numbers are random: a GPU takes less power, and runs faster, on equal ones.
    """
    size = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device).manual_seed(0)
    matrix = torch.randn(size, size, device=device, generator=generator).to(dtype)
    best, end = math.inf, time.perf_counter() + 0.5
    while (started := time.perf_counter()) < end:
        product = matrix @ matrix
        product[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def free_memory(device: torch.device, processes: int) -> int:
    """Bytes that a training may still take on its device; on a CPU its part of what the machine, or the container, has
    free for so many processes.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        free = min(free, limit - used)
    return free // processes


def peak_memory(device: torch.device) -> int:
    """The most bytes that were in use on the device; on a CPU, by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported())
