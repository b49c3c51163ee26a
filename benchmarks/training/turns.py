"""Processes that prepare side by side and are timed one at a time."""

import subprocess
import sys
import tempfile
from typing import IO

from benchmarks.training.peers import READY


def take(commands: dict[str, list[str]]) -> dict[str, str]:
    """Return the last line that each process printed, by name; one that fails is left out, and its errors go to stderr.

    Args:
        commands: Commands by name.
    """
    processes = {name: _Process(name, command) for name, command in commands.items()}
    waiting = [process for process in processes.values() if process.is_ready()]
    while waiting:
        waiting = [process for process in waiting if process.goes_on()]
    # Nothing is timed from here on, so that trainings may end side by side.
    for process in processes.values():
        process.end()
    return {name: process.line for name, process in processes.items() if process.succeeded}


class _Process:
    """A process that takes turns.

    Attributes:
        name: Its name.
        line: The last line that it printed.
        succeeded: Whether it ended without an error.
    """

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.line = ""
        self.succeeded = False
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the process that writes to it
        self._running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )

    def is_ready(self) -> bool:
        """Wait until the process wants a turn or has ended, and return whether it wants one."""
        assert self._running.stdout is not None
        for line in self._running.stdout:
            self.line = line.strip()
            if self.line == READY:
                return True
        return False

    def goes_on(self) -> bool:
        """Give the process a turn, and return whether it wants another."""
        assert self._running.stdin is not None
        self._running.stdin.write("\n")
        self._running.stdin.flush()
        return self.is_ready()

    def end(self) -> None:
        """Wait until the process has ended, and print its errors if it failed."""
        self._running.wait()
        self.succeeded = self._running.returncode == 0
        if not self.succeeded:
            self._errors.seek(0)
            print(f"{self.name} failed:\n{self._errors.read()[-2000:]}", file=sys.stderr)
