"""Removes a run's containers when what starts them has ended: `python -m modelmill.pipelines.runners.removal LABEL`."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

# Docker may still be making a container that was asked for, and tells nobody of it before it is made.
_QUIET_SECONDS = 3.0
# After these Docker will not remove what it has not removed.
_MOST_SECONDS = 120.0


@contextlib.contextmanager
def afterwards(label: str) -> Iterator[None]:
    """Have the containers with a label removed if this process is killed in the block, or the block raises.

    A process in a session of its own does so: what kills this one, be it SIGKILL to its whole group or a terminal that
    is closed, does not reach it. It sees its standard input end.
    """
    command = [sys.executable, "-m", "modelmill.pipelines.runners.removal", label]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as remover:
        yield
        remover.kill()  # every container was waited for


def main(label: str) -> int:
    """Wait until standard input ends, then remove the containers with a label."""
    import docker

    client = docker.from_env()
    sys.stdin.buffer.read()
    _remove(client, label)
    return 0


def _remove(client: Any, label: str) -> None:
    """Remove the containers with a label, until none has been there for a while."""
    from docker.errors import APIError

    began = seen = time.monotonic()
    while (now := time.monotonic()) - seen < _QUIET_SECONDS and now - began < _MOST_SECONDS:
        for container in client.containers.list(all=True, sparse=True, filters={"label": label}):
            seen = now
            with contextlib.suppress(APIError):  # it is just being removed
                container.remove(force=True, v=True)
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
