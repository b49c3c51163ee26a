"""A server as a child process: started, waited for, and ended with everything it wrote."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def serving(
    command: list[str], folder: Path, environment: dict[str, str], is_ready: Callable[[], bool], seconds: float
) -> Iterator[None]:
    """Run a server in `folder`, with nothing of this environment but the PATH, until the block ends.

    Raises:
        RuntimeError: it ended or was not ready in time; the message holds the end of its log.
    """
    output = folder / "output"
    with open(output, "wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), **environment},
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + seconds
        while not is_ready():
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"{command[0]} did not start: {output.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        # At once: nothing that it stores outlives the test.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
