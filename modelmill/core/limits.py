"""Cores and memory that this process may use: of the machine, or of the container that it is in."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

# Libraries that start a thread for each core of the machine, unless this says otherwise before they are imported.
_THREADS = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")
_ROOT, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# cgroup v1 has numbers near 2^63 for no limit.
_NONE = 1 << 60


def cores() -> int:
    """Return how many cores to use, at least one: `OMP_NUM_THREADS`, else those that this process may run on.

    These are the cores of its affinity, and no more than the quota of its control group (v1 or v2) comes to.
    """
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    if chosen.isdigit() and int(chosen):
        return int(chosen)
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([count, *_quotas()])))


def share_threads() -> None:
    """Have libraries that are imported later use no more threads than there are cores to use."""
    count = str(cores())
    for name in _THREADS:
        os.environ.setdefault(name, count)


def memory() -> int:
    """Return the bytes that this process may use: the machine's, or its control group's limit if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *(limit for limit, _ in _memory_limits())])


def free_memory() -> int:
    """Return the bytes that this process may still take, without what the system can give up."""
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    return min([free, *(limit - used for limit, used in _memory_limits())])


def _quotas() -> Iterator[float]:
    """Yield the cores that each control group above this process comes to, where it has a quota."""
    for folder in _groups(""):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            yield float(quota) / float(period)
    for folder in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if float(quota) > 0:
                yield float(quota) / float(period)


def _memory_limits() -> Iterator[tuple[int, int]]:
    """Yield the limit of each control group above this process, and what is used of it."""
    for controller, limit, used in (
        ("", "memory.max", "memory.current"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        for folder in _groups(controller):
            with contextlib.suppress(OSError, ValueError):
                bytes_, taken = (int((folder / name).read_text()) for name in (limit, used))
                if bytes_ < _NONE:
                    yield bytes_, taken


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, from its own to the root.

    Args:
        controller: Of cgroup v1; empty for v2.
    """
    root = _ROOT / controller
    own = "/"
    with contextlib.suppress(OSError):
        for line in _OWN.read_text().splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                own = path
    yield root
    group = root / own.strip("/")
    while group != root and group.is_relative_to(root):
        yield group
        group = group.parent
