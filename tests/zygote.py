"""A process that has imported what commands and steps import, and is forked in place of starting a Python.

A command is still a process of its own, with its own environment and folder, and so is each Python that it starts; but
none of them imports torch, Great Expectations or mlflow again, which is most of what a small run costs.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
IMPORTS = (
    "great_expectations",
    "mlflow.pyfunc",
    # What opens a registry: two seconds each time.
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
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
    """The process, as tests see it; one of its forks runs at a time."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote", str(theirs.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def python(
        self, arguments: list[str], cwd: Path, environment: Mapping[str, str], timeout: float, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python that is given `-m` and a module, or `-c` and a program, to its end, as `subprocess.run` does."""
        files = [open(os.memfd_create(name), "w+b") for name in ("stdout", "stderr", "stdin")]  # noqa: SIM115
        files[2].write(stdin.encode())
        files[2].seek(0)
        with contextlib.ExitStack() as stack:
            for file in files:
                stack.enter_context(file)
            request = {"arguments": arguments, "cwd": str(cwd), "environment": dict(environment)}
            message = json.dumps(request).encode()
            socket.send_fds(self._socket, [len(message).to_bytes(4, "big")], [file.fileno() for file in files])
            self._socket.sendall(message)
            self._socket.settimeout(timeout)
            code = json.loads(self._socket.recv(1 << 10))["code"]
            out, err = (_text(file) for file in files[:2])
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
        size, files, *_ = socket.recv_fds(requests, 4, 3)
        if not size:
            return
        message = b""
        while len(message) < int.from_bytes(size, "big"):
            message += requests.recv(1 << 16)
        process = os.fork()
        if process == 0:
            requests.close()
            os._exit(_answer(json.loads(message), files))
        for file in files:
            os.close(file)
        _, status = os.waitpid(process, 0)
        requests.sendall(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())


def _answer(request: dict[str, Any], files: list[int]) -> int:
    """Be the process that a request asks for, and have it fork what it would start."""
    for file, target in zip(files, (1, 2, 0), strict=True):
        os.dup2(file, target)
        os.close(file)
    os.chdir(request["cwd"])
    subprocess.Popen = Forked  # type: ignore[misc]
    return _be_python(request["arguments"], request["environment"])


class Forked(subprocess.Popen[Any]):
    """A process that, if it is a Python which is given a module or a program, is forked from this one."""

    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        if (
            isinstance(args, list)
            and args[0] == sys.executable
            and args[1] in ("-m", "-c")
            and not _has_open_database()
        ):
            assert not more, "by name only"
            sys.stdout.flush()
            sys.stderr.flush()
            environment = dict(os.environ if options.get("env") is None else options["env"])
            # It is called where the new process would become another program, and does not return.
            options["preexec_fn"] = functools.partial(_be_forked, args[1:], environment, options.get("pass_fds", ()))
        super().__init__(args, *more, **options)


def _has_open_database() -> bool:
    """Return whether this process has a SQLite file open: SQLite does not work on in a process that was forked then."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that listed them
            if descriptor.readlink().suffix == ".db":
                return True
    return False


def _be_forked(arguments: list[str], environment: dict[str, str], descriptors: Sequence[int]) -> NoReturn:
    # Who keeps the other end of a pipe keeps the process at it alive.
    first = 3
    for descriptor in sorted(descriptors):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, 1 << 16)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    atexit._clear()  # what is to be cleaned up then belongs to the process that this one was forked from
    os._exit(_be_python(list(map(str, arguments)), environment))


def _be_python(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Do what a Python does that is given these arguments, to its end; return its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    kind, what, *rest = arguments
    try:
        sys.argv = [kind, *rest]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        atexit._run_exitfuncs()  # temporary folders
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def main(descriptor: int) -> int:
    """Import, then serve until the tests' end of the socket closes."""
    import sqlalchemy.orm

    from modelmill.runtime.tracking import connection

    started = time.monotonic()
    connection.configure()
    for name in IMPORTS:
        importlib.import_module(name)
    sqlalchemy.orm.configure_mappers()
    print(f"zygote: imported in {time.monotonic() - started:.1f} s", file=sys.stderr)
    with socket.socket(fileno=descriptor) as requests:
        _serve(requests)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
