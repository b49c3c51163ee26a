"""A `preStop` hook for the container of a step: have the step save before the container ends.

Kubernetes sends SIGTERM to a container's first process only. In a step's that is the runner's launcher, which dies of
it at once, and the container with it, before Python has saved anything. So this program, which Kubernetes runs in the
container before that signal, sends SIGTERM to the step's own Python process and returns when that has ended:

    python -m modelmill.runtime.preemption

It needs the standard library alone and starts in a moment. While it runs, the pod's grace period runs too.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

MODULE = "modelmill.runtime.preemption"
# Set by KFP in the container of a step; elsewhere process 1 and its Python children are somebody else's.
POD_VARIABLE = "KFP_POD_NAME"
# What the pod's `terminationGracePeriodSeconds` is, where the cluster's files say so to the container.
GRACE_VARIABLE = "MODELMILL_GRACE_SECONDS"
GRACE_SECONDS = 120.0
# Left of the grace period for the end of the container.
_RESERVE_SECONDS = 5.0
_POLL_SECONDS = 0.1


class Process(NamedTuple):
    """A process as /proc describes it.

    Attributes:
        number: Its id.
        parent: Its parent's id.
        started: When it started, in the kernel's ticks: with the id, it names one process for ever.
        command: Its arguments.
    """

    number: int
    parent: int
    started: int
    command: list[str]

    @property
    def is_python(self) -> bool:
        """Whether it is a Python process, other than this program."""
        name = Path(self.command[0]).name if self.command else ""
        return name.startswith("python") and MODULE not in self.command


def main(root: int = 1) -> int:
    """Have the Python processes below `root` save and end, and wait for that; return the exit code.

    Args:
        root: Id of the container's first process.
    """
    deadline = time.monotonic() + max(0.0, _grace_seconds() - _RESERVE_SECONDS)
    steps = steps_below(root)
    for step in steps:
        _say(root, f"preempted: process {step.number} is asked to save: {' '.join(step.command)[:200]}")
        _signal(root, step)
    while any(map(is_alive, steps)):
        if time.monotonic() > deadline:
            _say(root, "preempted: the grace period is over before all is saved; the last checkpoint counts")
            return 1
        time.sleep(_POLL_SECONDS)
    return 0


def steps_below(root: int) -> list[Process]:
    """Return the topmost Python processes below a process: those that they start are theirs to end.

    Args:
        root: Id of the process.
    """
    known = {process.number: process for process in map(_read, _ids()) if process is not None}
    return [
        process
        for process in known.values()
        if process.is_python
        and root in (above := _ancestors(process, known))
        and not any(known[one].is_python for one in above[: above.index(root)])
    ]


def is_alive(process: Process) -> bool:
    """Return whether a process still runs; one that nobody has waited for yet does not."""
    now = _read(process.number)
    # A zombie has no arguments.
    return now is not None and now.started == process.started and bool(now.command)


def _ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _ancestors(process: Process, known: dict[int, Process]) -> list[int]:
    """Return the ids of a process's ancestors, the nearest first."""
    above, parent = [], process.parent
    while parent in known and parent not in above:
        above.append(parent)
        parent = known[parent].parent
    return above


def _read(number: int) -> Process | None:
    """Return a process, None if it is gone."""
    try:
        # Behind the name, which stands in parentheses and may hold anything.
        fields = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
        command = Path(f"/proc/{number}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    return Process(number, int(fields[1]), int(fields[19]), [part for part in command.split("\0") if part])


def _signal(root: int, process: Process) -> None:
    try:
        os.kill(process.number, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        _say(root, f"preempted: process {process.number} belongs to another user and could not be asked")


def _grace_seconds() -> float:
    try:
        return float(os.environ.get(GRACE_VARIABLE, GRACE_SECONDS))
    except ValueError:
        return GRACE_SECONDS


def _say(root: int, line: str) -> None:
    """Say a line in the container's log, where it can be written to."""
    with contextlib.suppress(OSError), open(f"/proc/{root}/fd/1", "a") as output:
        output.write(f"{line}\n")


if __name__ == "__main__":
    if POD_VARIABLE not in os.environ:
        print(f"{MODULE}: {POD_VARIABLE} is not set: this is not the container of a step", file=sys.stderr)
        sys.exit(2)
    sys.exit(main())
