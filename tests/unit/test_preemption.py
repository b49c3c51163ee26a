"""`python -m modelmill.runtime.preemption`: real processes below a parent that dies at once on SIGTERM."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmill.runtime import preemption
from tests.cli import ROOT, wait_until

# A step that saves on SIGTERM and has started a process of its own, which is the step's to end.
STEP = """
import subprocess, sys, time
from pathlib import Path
from modelmill.core import lifetime

folder = Path(sys.argv[1])
worker = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: open(sys.argv[1], 'w')); time.sleep(60)"
with lifetime.termination() as asked:
    with subprocess.Popen([sys.executable, "-c", worker, str(folder / "worker-was-asked")]) as process:
        time.sleep(0.5)
        (folder / "started").touch()
        asked.wait()
        time.sleep(float(sys.argv[2]))
        (folder / "saved").touch()
        process.kill()
raise SystemExit(75)
"""
HOOK = "import sys; from modelmill.runtime import preemption; raise SystemExit(preemption.main(int(sys.argv[1])))"


class Container:
    """A shell, as the first process of a container is, with a step below it."""

    def __init__(self, folder: Path, saving_seconds: float) -> None:
        self.folder = folder
        python = f"'{sys.executable}' -c '{STEP.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}'"
        command = f"{python} '{folder}' {saving_seconds} & wait"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.first = subprocess.Popen(["sh", "-c", command], env=environment, start_new_session=True)
        assert wait_until(lambda: (folder / "started").exists(), 60)

    def hook(self, grace: float) -> subprocess.Popen[bytes]:
        """The program, as Kubernetes runs it beside the step."""
        environment = os.environ | {"PYTHONPATH": str(ROOT), preemption.GRACE_VARIABLE: str(grace)}
        return subprocess.Popen([sys.executable, "-c", HOOK, str(self.first.pid)], env=environment)

    def stop(self) -> None:
        """SIGTERM to the first process, with which all others end."""
        self.first.terminate()
        assert self.first.wait(10) == -signal.SIGTERM, "it dies of it at once"
        os.killpg(self.first.pid, signal.SIGKILL)

    @property
    def has_saved(self) -> bool:
        return (self.folder / "saved").exists()


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = Container(tmp_path, 0.5)
    yield made
    if made.first.poll() is None:
        os.killpg(made.first.pid, signal.SIGKILL)
        made.first.wait()


def test_a_step_is_lost_with_its_container_where_nothing_asks_it(container: Container) -> None:
    container.stop()
    time.sleep(1)
    assert not container.has_saved


def test_a_step_saves_where_it_is_asked_before_its_container_ends(container: Container) -> None:
    hook = container.hook(60)
    assert hook.wait(30) == 0
    assert container.has_saved, "it is waited for"
    assert not (container.folder / "worker-was-asked").exists(), "what a step has started is the step's to end"
    if container.first.poll() is None:
        container.stop()


def test_a_grace_period_that_is_too_short_is_not_waited_out(tmp_path: Path) -> None:
    container = Container(tmp_path, 60)
    began = time.monotonic()
    hook = container.hook(preemption._RESERVE_SECONDS + 0.5)
    assert hook.wait(30) == 1 and time.monotonic() - began < 15
    assert not container.has_saved
    container.stop()


def test_it_does_nothing_where_no_step_is(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as idle:
        assert preemption.main(idle.pid) == 0
        idle.kill()


def test_it_starts_without_the_libraries_of_a_step_and_only_in_a_step() -> None:
    environment = {name: value for name, value in os.environ.items() if name != preemption.POD_VARIABLE}
    # Without the site's packages whatever is not of the standard library or of ours cannot be imported.
    command = [sys.executable, "-S", "-m", preemption.MODULE]
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr == f"{preemption.MODULE}: KFP_POD_NAME is not set: this is not the container of a step\n"
