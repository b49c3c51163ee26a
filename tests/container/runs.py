"""Runs in the images, and what can be seen of them from outside."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelmill.pipelines.runners.docker import RUN_LABEL
from modelmill.store import Store, open_store
from tests import cli
from tests.seaweedfs import SeaweedFS


@dataclass
class Seen:
    """Of every container that was started: what Docker knows of it, and what it said."""

    containers: list[dict[str, Any]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)


def upload(seaweedfs: SeaweedFS, folder: Path, bucket: str) -> str:
    """Put a folder's files into a new bucket; returns where."""
    uri = seaweedfs.create_bucket(bucket)
    for file in folder.iterdir():
        seaweedfs.client().upload_file(str(file), bucket, f"data/{file.name}")
    return f"{uri}/data"


@contextmanager
def watched(folder: Path) -> Iterator[Seen]:
    """See the containers of runs that start in the meantime; what they say is kept in a new folder."""
    folder.mkdir()
    seen, followers = Seen(), []
    command = ["docker", "events", "--filter", "event=start", "--filter", f"label={RUN_LABEL}", "--format", "{{.ID}}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:

        def look() -> None:
            assert events.stdout is not None
            for container in map(str.strip, events.stdout):
                # Followed, because a container that has ended is gone, and its log with it.
                with open(folder / container, "wb") as log:
                    follow = ["docker", "logs", "--follow", container]
                    followers.append(subprocess.Popen(follow, stdout=log, stderr=log))
                said = subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=False)
                seen.containers.extend(json.loads(said.stdout or "[]"))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            events.terminate()
            thread.join()
            for follower in followers:
                follower.wait(60)
            seen.logs.extend(log.read_text("utf-8", "replace") for log in folder.iterdir())


def run_in_images(recipe: Path, store: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a recipe to its end, which must be a registered model; the run's summary is on its standard output."""
    done = cli.modelmill("run", recipe, "--store", store, "--runner", "docker", "--json", **environment)
    summary = json.loads(done.stdout or "{}")
    if done.returncode:
        log = open_store_of(store, environment).get(f"runs/{summary['run_id']}/log.txt").decode() if summary else ""
        pytest.fail(f"{summary.get('reason')}\n{done.stderr}\n{log[-6000:]}")
    return done


def open_store_of(store: str, environment: dict[str, str]) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return open_store(store)


def containers_of(run_id: str) -> list[str]:
    """The ids of a run's containers, in whatever state they are."""
    command = ["docker", "ps", "--all", "--quiet", "--filter", f"label={RUN_LABEL}={run_id}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
