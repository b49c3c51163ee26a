"""A process that imports what steps need before they are called, and forks one process a call.

Start it by `python -m modelmill.pipelines.runners.warm SOCKET`, where SOCKET is the number of an inherited socket. Over
it come requests, one line of JSON each: `import` names modules; `call` names a function of ours as `module:name`, with
its `arguments`, the file for its `answer`, and whether it runs `in_place`, in this process. When a call has ended, its
`id` and exit code go back. Calls run side by side; imports go on beside them.
"""

import contextlib
import importlib
import json
import os
import select
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

from modelmill.core import limits
from modelmill.core.errors import ModelmillError, one_line
from modelmill.core.lifetime import exit_with_stdin

POLL_SECONDS = 0.02
# Elsewhere a fork after such imports is not safe (macOS's own libraries refuse it): there a call is a fresh process.
FORKS = sys.platform == "linux"


class Warm:
    """The loop of the process: imports while nothing else is asked, forks for each call, says which have ended."""

    def __init__(self, requests: socket.socket) -> None:
        """Serve over a socket."""
        self._requests = requests
        self._buffer = b""
        self._imports: list[str] = []
        self._calls: dict[int, int] = {}

    def serve(self) -> None:
        """Answer until the other end closes."""
        while True:
            self._report_ended()
            idle = 0.0 if self._imports else POLL_SECONDS if self._calls else None
            if select.select([self._requests], [], [], idle)[0]:
                if not self._read():
                    return
            elif self._imports:
                _import(self._imports.pop(0))

    def _read(self) -> bool:
        data = self._requests.recv(1 << 16)
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            self._handle(json.loads(line))
        return bool(data)

    def _handle(self, request: dict[str, Any]) -> None:
        if "import" in request:
            self._imports += request["import"]
        elif request.get("in_place"):
            self._send(request["id"], _code_of(request))
        elif FORKS:
            process = os.fork()
            if process == 0:
                self._requests.close()
                _end(_code_of(request))
            self._calls[process] = request["id"]
        else:
            command = [sys.executable, "-m", "modelmill.pipelines.runners.warm", json.dumps(request)]
            self._calls[subprocess.Popen(command).pid] = request["id"]

    def _report_ended(self) -> None:
        for process in list(self._calls):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                self._send(self._calls.pop(process), os.waitstatus_to_exitcode(status))

    def _send(self, call: int, code: int) -> None:
        self._requests.sendall(json.dumps({"id": call, "code": code}).encode() + b"\n")


def _end(code: int) -> NoReturn:
    """End a forked process: what is to be cleaned up on the way out belongs to the process that it was forked from."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import(name: str) -> None:
    """Import ahead; what cannot be imported is said by the step that needs it."""
    started = time.monotonic()
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"not imported ahead: {name}: {error}", flush=True)
    else:
        print(f"imported {name} in {time.monotonic() - started:.1f} s", flush=True)


def _code_of(request: dict[str, Any]) -> int:
    """Do what a request asks for in this process; return the exit code."""
    # The process that it was forked from watches its own standard input in a thread that is not here.
    exit_with_stdin()
    module, _, function = request["call"].partition(":")
    try:
        answer = getattr(importlib.import_module(module), function)(**request["arguments"])
        Path(request["answer"]).write_text(json.dumps(answer))
    except ModelmillError as error:
        # Not even the step's record could be written: the run says it, from here.
        print(one_line(error), flush=True)
        Path(request["answer"]).write_text(json.dumps({"error": one_line(error)}))
        return error.exit_code
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main(argument: str) -> int:
    """Serve the requests that come over an inherited socket, or do one call.

    Args:
        argument: The socket's number, or a request that calls a function.
    """
    if not argument.isdigit():
        return _code_of(json.loads(argument))
    exit_with_stdin()
    limits.share_threads()
    # The run may end, and with it the other end of the socket, while something is still on its way.
    with socket.socket(fileno=int(argument)) as requests, contextlib.suppress(ConnectionError):
        Warm(requests).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
