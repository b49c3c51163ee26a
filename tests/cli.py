"""The command line as a person calls it: another process, from the recipe's own folder."""

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient

from modelmill.runtime.tracking import connection
from modelmill.store import manifest, open_store
from tests.zygote import Popen

COMMAND = [sys.executable, "-m", "modelmill.pipelines.cli"]
ROOT = Path(__file__).parents[1]


def environment(**changes: str) -> dict[str, str]:
    """This one, without what would point a run at somebody's server or store."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "MODELMILL_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200", **changes}


def modelmill(
    *arguments: str | Path, cwd: Path | None = None, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a process that is forked from one that has imported what it needs."""
    command = [*COMMAND, *map(str, arguments)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with Popen(command, cwd=cwd or ROOT, env=environment(**env), text=True, **pipes) as process:
        try:
            out, err = process.communicate(stdin, timeout=400)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def run_json(recipe: Path, store: Path, *arguments: str, **env: str) -> dict[str, Any]:
    """`modelmill run --json` on a folder store; its exit code under `returncode`, its errors under `stderr`."""
    if not store.exists() and "MLFLOW_TRACKING_URI" not in env:
        store.mkdir(parents=True)
        shutil.copyfile(empty_registry(), store / "mlflow.db")
    done = modelmill("run", recipe, "--store", f"file://{store}", "--json", *arguments, **env)
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "returncode": done.returncode, "stderr": done.stderr}


@functools.cache
def empty_registry() -> Path:
    """A registry without a model: mlflow makes one in four seconds, which only a test of that has to wait for."""
    folder = Path(tempfile.mkdtemp(prefix="modelmill-test-registry-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    connection.describe(open_store(f"file://{folder}"))
    return folder / "mlflow.db"


def statuses(summary: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in summary["steps"]}


@contextlib.contextmanager
def started(*arguments: str | Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command that goes on while the test does something to it."""
    with Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell has its background jobs ignore SIGINT, and these tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_run_when(recipe: Path, store: Path, due: Callable[[], bool], *arguments: str, after: float = 0.0) -> bool:
    """Start a run and SIGKILL it, the command line alone, `after` seconds from when `due` is true.

    Returns whether it was still running then. Its runner and its step must end by themselves.
    """
    with started("run", recipe, *arguments, MODELMILL_STORE=f"file://{store}") as process:
        wait_until(lambda: process.poll() is not None or due(), 120)
        time.sleep(after)
        return process.poll() is None


def processes_of(store: Path | str) -> list[int]:
    """Processes that name the store in their command line or, as a run's children do, in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if str(store).encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def steps_of(store: Path | str) -> list[int]:
    """Processes that run a step of a run which was given the store by its environment: forks of a warm process."""
    warm = [process for process in processes_of(store) if b"runners.warm" in _command_of(process)]
    return [process for process in warm if _parent_of(process) in warm]


def _command_of(process: int) -> bytes:
    """The command line of a process; empty of one that is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent_of(process: int) -> int:
    """The id of a process's parent; 0 of one that is gone."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not (reached := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return reached


def registry(store: Path) -> MlflowClient:
    """The folder store's own registry, which `mlflow`'s functions then use as well, but no process that is started."""
    uri = f"sqlite:///{store}/mlflow.db"
    variables = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    before = {name: os.environ[name] for name in variables if name in os.environ}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name in variables:
        os.environ.pop(name, None)
    os.environ |= before
    return MlflowClient(uri, uri)


def weights_of(store: Path, summary: dict[str, Any], step: str = "fine_tuning") -> str:
    """The sha256 of the `model.safetensors` that a step of a run made."""
    made = next(s["output_digest"] for s in summary["steps"] if s["name"] == step)
    return manifest.load(open_store(f"file://{store}"), made).entry("model/model.safetensors").sha256
