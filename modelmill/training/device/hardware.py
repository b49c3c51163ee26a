"""The device of a training: which it is, its speed and its memory."""

import contextlib
import ctypes
import math
import time

import torch

from modelmill.core import limits

# From <malloc.h>: keep what is freed, and take large blocks from the heap instead of mapping each anew.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def pick_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def reuse_freed_memory() -> None:
    """Let the C library keep freed memory for the next step; without glibc, do nothing.

    Otherwise each large tensor on a CPU is mapped, filled with zeros page by page, and unmapped again, which takes up
    to a third of a training step.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def matmul_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOPs a second of one large matrix product by itself, which a training could reach at most.

    The best of half a second of tries, with as many threads as the training has, so that warming up and other work on
    the machine do not count. A CPU is fastest where three matrices fit into its caches, a GPU where they keep all of it
    busy. The numbers are random: on equal ones a GPU takes less power and runs faster.

    Args:
        device: The device to measure.
        dtype: The number format of the product.
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
    """Return the bytes that a training may still take on its device.

    On a CPU, this process's share of what the machine, or the container, has free.

    Args:
        device: The device.
        processes: How many processes share the machine's memory.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return limits.free_memory() // processes


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that were in use on the device; on a CPU, by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
