"""A process that has imported what commands and steps import, and forks one process a command.

A command is still a process of its own, with its own environment and folder, and so are the steps that it starts; but
none of them imports torch, Great Expectations or mlflow again, which is most of what a small run costs.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

ROOT = Path(__file__).parents[1]
IMPORTS = (
    "great_expectations",
    "torch",
    "transformers",
    "peft",
    "sklearn.metrics",
    "modelmill.components.data_validation.contract",
    "modelmill.components.evaluation.champion",
    "modelmill.components.fine_tuning.finishing",
    "modelmill.components.registration.registry",
    "modelmill.components.reporting.render",
    "modelmill.training.loop.stage",
    "modelmill.tasks.language_modeling.evaluate",
    "modelmill.tasks.tabular_classification.evaluate",
    "modelmill.pipelines.commands.run",
    "modelmill.pipelines.run",
)
# What is looked at when a process starts or a library is imported, and so too late here.
TOO_LATE = ("PYTHONPATH", "OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "PYTHONHASHSEED")


class Zygote:
    """The process, as tests see it; one command runs at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote", str(theirs.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def run(
        self, arguments: list[str], cwd: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as `subprocess.run` does."""
        files = [open(os.memfd_create(name), "w+b") for name in ("stdout", "stderr")]  # noqa: SIM115
        with contextlib.ExitStack() as stack:
            for file in files:
                stack.enter_context(file)
            request = {"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
            message = json.dumps(request).encode()
            socket.send_fds(self._socket, [len(message).to_bytes(4, "big")], [file.fileno() for file in files])
            self._socket.sendall(message)
            self._socket.settimeout(timeout)
            code = json.loads(self._socket.recv(1 << 10))["code"]
            out, err = (_text(file) for file in files)
        return subprocess.CompletedProcess(arguments, code, out, err)


@functools.cache
def zygote() -> Zygote:
    """Return this test process's zygote, started when it is first asked for."""
    return Zygote()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(requests: socket.socket) -> None:
    while True:
        size, files, *_ = socket.recv_fds(requests, 4, 2)
        if not size:
            return
        message = b""
        while len(message) < int.from_bytes(size, "big"):
            message += requests.recv(1 << 16)
        process = os.fork()
        if process == 0:
            requests.close()
            code = _command(json.loads(message), files)
            atexit._run_exitfuncs()  # of the command: temporary folders
            os._exit(code)
        for file in files:
            os.close(file)
        _, status = os.waitpid(process, 0)
        requests.sendall(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())


def _command(request: dict[str, Any], files: list[int]) -> int:
    """Be the command line."""
    from modelmill.pipelines import cli
    from modelmill.pipelines.runners import local

    for file, target in zip(files, (1, 2), strict=True):
        os.dup2(file, target)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = ["modelmill", *request["arguments"]]
    local.start_process = _fork_warm
    try:
        cli.main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _fork_warm(theirs: int, log: IO[bytes], environment: Mapping[str, str]) -> Any:
    """Start a warm process by a fork, in place of a new interpreter; see `local.start_process`."""
    from modelmill.pipelines.runners import warm

    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        for file, target in ((reading, 0), (log.fileno(), 1), (log.fileno(), 2)):
            os.dup2(file, target)
        # Who keeps the other end of a pipe keeps the process at it alive.
        os.closerange(3, theirs)
        os.closerange(theirs + 1, 1 << 16)
        os.environ.clear()
        os.environ.update(environment)
        try:
            warm.main(str(theirs))
        finally:
            os._exit(0)
    os.close(reading)

    def wait() -> int:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    return SimpleNamespace(wait=wait, stdin=open(writing, "wb", buffering=0))


def main(descriptor: int) -> int:
    """Import, then serve until the tests' end of the socket closes."""
    from modelmill.runtime.tracking import connection

    started = time.monotonic()
    connection.configure()
    for name in IMPORTS:
        importlib.import_module(name)
    print(f"zygote: imported in {time.monotonic() - started:.1f} s", file=sys.stderr)
    with socket.socket(fileno=descriptor) as requests:
        _serve(requests)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
