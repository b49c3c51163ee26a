"""A process that has imported what commands and steps import, and is forked in place of starting a Python.

A command is still a process of its own, with its own environment and folder, and so is each Python that it starts; but
none of them imports torch, Great Expectations or mlflow again, which is most of what a small run costs.
"""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib
import inspect
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
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
    "torch.distributed.run",
    "modelmill.tasks.language_modeling.evaluate",
    "modelmill.tasks.tabular_classification.evaluate",
    "modelmill.pipelines.commands.run",
    "modelmill.pipelines.run",
    "modelmill.pipelines.cluster.placement",
    "modelmill.pipelines.dag",
)
# What is looked at when a process starts or a library is imported, and so too late here.
TOO_LATE = ("PYTHONPATH", "OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "PYTHONHASHSEED")
# For the command line and for the environment of a fork.
_ROOM = 100_000


# What `subprocess.Popen` is where a test has not put another in its place.
_Popen: Any = subprocess.Popen


class Popen(_Popen):  # type: ignore[misc]
    """A process as `subprocess` starts it; if it is a Python, a fork of the zygote that then looks like that Python.

    Its command line and environment can be read below /proc, it has the session and the files that it was given, and
    signals and exit codes are its own. It is no child of this process, which only its `os.waitpid` would notice.
    """

    _status: IO[str] | None = None

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, *more: Any):  # type: ignore[no-untyped-def]
        cwd, env, _, _, shell, *pipes, _, _, _, _, _, new_session, _ = more
        variables = dict(os.environ if env is None else env)
        arguments = _arguments_of_python(args)
        if shell or arguments is None or _are_too_late(variables):
            return super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, *more)
        standard = [pipe if pipe != -1 else own for own, pipe in enumerate((pipes[0], pipes[3], pipes[5]))]
        request = {
            "arguments": arguments,
            "cwd": os.fspath(cwd or Path.cwd()),
            "environment": variables,
            "new_session": new_session,
            "descriptors": [0, 1, 2, *pass_fds],
        }
        self._status = zygote().fork(request, [*standard, *pass_fds])
        self.pid = int(self._status.readline())
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        return None

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        if wait_flags and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        with self._status as status:
            return self.pid, int(status.readline())

    def _internal_poll(self, *arguments: Any, **options: Any) -> int | None:
        if self._status is None:
            return super()._internal_poll(*arguments, **options)  # type: ignore[misc, no-any-return]
        with self._waitpid_lock:  # type: ignore[attr-defined]
            if self.returncode is None:
                process, status = self._try_wait(os.WNOHANG)
                if process:
                    self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode


def _are_too_late(variables: Mapping[str, str]) -> bool:
    """Return whether an environment has what a fork would not look at again."""
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    return any(name in variables and variables[name] != here.get(name) for name in TOO_LATE)


def _arguments_of_python(args: Any) -> list[str] | None:
    """Return what a Python is given from `-m` and a module or `-c` and a program on; None for other commands."""
    if not isinstance(args, list | tuple) or args[0] != sys.executable:
        return None
    arguments = [str(argument) for argument in args[1:]]
    if arguments[0] == "-u":
        del arguments[0]
    return arguments if arguments[0] in ("-m", "-c") else None


class Zygote:
    """The process, as tests see it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._process = _Popen(
            [sys.executable, "-m", "tests.zygote", str(theirs.fileno()), " " * _ROOM],
            cwd=ROOT,
            env=os.environ | {"ZYGOTE_ROOM": " " * _ROOM},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def fork(self, request: dict[str, Any], descriptors: list[int]) -> IO[str]:
        """Have a process forked; in what is returned are lines with its id and, once it has ended, its wait status."""
        message = json.dumps(request).encode()
        ours, theirs = socket.socketpair()
        with ours, theirs, self._lock:
            size = len(message).to_bytes(4, "big")
            socket.send_fds(self._socket, [size], [theirs.fileno(), *descriptors])
            self._socket.sendall(message)
            return ours.makefile()


@functools.cache
def zygote() -> Zygote:
    """Return this test process's zygote, started when it is first asked for."""
    return Zygote()


def _serve(requests: socket.socket) -> None:
    while True:
        size, files, *_ = socket.recv_fds(requests, 4, 64)
        if not size:
            return
        message = b""
        while len(message) < int.from_bytes(size, "big"):
            message += requests.recv(1 << 16)
        guardian = os.fork()
        if guardian == 0:
            requests.close()
            _guard(json.loads(message), *files)
        for file in files:
            os.close(file)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _guard(request: dict[str, Any], status: int, *files: int) -> NoReturn:
    """Be the parent of a fork, and report on it."""
    process = os.fork()
    if process == 0:
        os.close(status)
        os._exit(_answer(request, files))
    for file in files:
        os.close(file)
    with contextlib.suppress(BrokenPipeError):
        os.write(status, b"%d\n" % process)
    _, code = os.waitpid(process, 0)
    with contextlib.suppress(BrokenPipeError):
        os.write(status, b"%d\n" % code)
    os._exit(0)


def _answer(request: dict[str, Any], files: Sequence[int]) -> int:
    """Be the process that a request asks for, and have it fork what it would start."""
    above = max(request["descriptors"]) + 1
    copies = [fcntl.fcntl(file, fcntl.F_DUPFD, above) for file in files]
    for copy, target in zip(copies, request["descriptors"], strict=True):
        os.dup2(copy, target)
    _close_all_but(request["descriptors"][3:])
    if request["new_session"]:
        os.setsid()
    os.chdir(request["cwd"])
    return _be_python(request["arguments"], request["environment"])


class Forked(_Popen):  # type: ignore[misc]
    """A process that, if it is a Python which is given a module or a program, is forked from this one."""

    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        arguments = _arguments_of_python(args)
        if arguments is not None and not _has_open_database():
            assert not more, "by name only"
            sys.stdout.flush()
            sys.stderr.flush()
            environment = dict(os.environ if options.get("env") is None else options["env"])
            # It is called where the new process would become another program, and does not return.
            options["preexec_fn"] = functools.partial(_be_forked, arguments, environment, options.get("pass_fds", ()))
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
    _close_all_but(descriptors)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    atexit._clear()  # what is to be cleaned up then belongs to the process that this one was forked from
    os._exit(_be_python(arguments, environment))


def _close_all_but(descriptors: Sequence[int]) -> None:
    """Close what is open beside standard input, output and error, but for these."""
    first = 3
    for descriptor in sorted(descriptors):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, 1 << 16)


def _be_python(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Do what a Python does that is given these arguments, to its end; return its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # it was made out for another environment
    _look_like([sys.executable, *arguments], environment)
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


def _look_like(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Write a command line and an environment to where /proc/PID/cmdline and /proc/PID/environ are read from."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    bounds = list(map(int, fields[45:49]))  # proc(5): arg_start, arg_end, env_start, env_end
    variables = [f"{name}={value}" for name, value in environment.items()]
    for start, end, strings in ((*bounds[:2], arguments), (*bounds[2:], variables)):
        # The last byte stays zero: to the kernel another one says that the title goes on in the environment.
        text = b"".join(string.encode() + b"\0" for string in strings)[: end - start - 1]
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def main(descriptor: int) -> NoReturn:
    """Import, then serve until the tests' end of the socket closes."""
    # Its forks have environments of their own, and are not to see this.
    del os.environ["ZYGOTE_ROOM"]
    # Before others take it from there by name.
    subprocess.Popen = Forked  # type: ignore[misc]
    import sqlalchemy.orm

    from modelmill.runtime.tracking import connection

    started = time.monotonic()
    connection.configure()
    for name in IMPORTS:
        importlib.import_module(name)
    sqlalchemy.orm.configure_mappers()
    # kfp asks for the whole stack to name a caller; to find its source lines takes seconds with so many modules.
    inspect.stack = functools.partial(inspect.stack, 0)
    # A collection in a fork would look at, and so copy, all that was imported.
    gc.collect()
    gc.freeze()
    print(f"zygote: imported in {time.monotonic() - started:.1f} s", file=sys.stderr)
    with socket.socket(fileno=descriptor) as requests:
        _serve(requests)
    # Without the ends of libraries, which take seconds and print what was not given back.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
