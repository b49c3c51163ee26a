"""The machine that a benchmark runs on, and its processes."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def machine() -> str:
    """Return the machine in one line: processor, cores, memory, versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def printed_by(module: str, *arguments: object, one_thread: bool = False) -> dict[str, Any]:
    """Return the JSON object that a module prints last when it is run in a process of its own.

    Args:
        module: Name of the module.
        *arguments: Its command line.
        one_thread: Whether it has one thread.

    Raises:
        SystemExit: It fails.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    threads = {"OMP_NUM_THREADS": "1"} if one_thread else {}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | threads)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))
