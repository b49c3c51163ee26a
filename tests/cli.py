"""The command line as a person calls it: another process, from the recipe's own folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.common.store import open_store

COMMAND = [sys.executable, "-m", "pipelines.cli"]
ROOT = Path(__file__).parents[1]


def environment(**changes: str) -> dict[str, str]:
    """This one, without what would point a run at somebody's server or store."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "MODELMILL_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200", **changes}


def modelmill(*arguments: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd or ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def run_json(recipe: Path, store: Path, *arguments: str, **env: str) -> dict[str, Any]:
    """`modelmill run --json` on a folder store; its exit code under `returncode`, its errors under `stderr`."""
    done = modelmill("run", recipe, "--store", f"file://{store}", "--json", *arguments, **env)
    return {**json.loads(done.stdout), "returncode": done.returncode, "stderr": done.stderr}


def statuses(summary: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in summary["steps"]}


def kill_run_when(recipe: Path, store: Path, due: Callable[[], bool], *arguments: str, after: float = 0.0) -> bool:
    """Start a run and SIGKILL it, the command line alone, `after` seconds from when `due` is true.

    Returns whether it was still running then. Its runner and its step must end by themselves.
    """
    command = [*COMMAND, "run", str(recipe), "--store", f"file://{store}", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and not due():
            time.sleep(0.02)
        time.sleep(after)
        alive = process.poll() is None
        process.send_signal(signal.SIGKILL)
    return alive


def orphans(store: Path) -> list[int]:
    """Processes that name the store in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(store).encode() in command:
                found.append(int(entry.name))
    return found


def weights_of(store: Path, summary: dict[str, Any], step: str = "fine_tuning") -> str:
    """The sha256 of the `model.safetensors` that a step of a run made."""
    from components.common import manifest

    made = next(s["output_digest"] for s in summary["steps"] if s["name"] == step)
    return manifest.load(open_store(f"file://{store}"), made).entry("model/model.safetensors").sha256
