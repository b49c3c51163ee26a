"""A step under a launcher's conditions: what Kubernetes' `preStop` hook saves of it, and what a cancellation does.

A parent that dies at once on SIGTERM, 0.7 CPU, no home, a read-only root, and a network with the store alone.
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from modelmill.core.image import image_of
from modelmill.runtime import cancellation, preemption, run_records
from modelmill.store import Store
from tests.cli import wait_until
from tests.component.steps import Steps
from tests.container import one_way_out
from tests.container.runs import open_store_of
from tests.recipes import table_recipe, write_table
from tests.seaweedfs import SeaweedFS

# Long enough not to end by itself, and without a checkpoint of its own.
LONG = ("fine_tuning.steps=1000000", "fine_tuning.patience=null", "fine_tuning.checkpoint_seconds=100000")
# The launcher: it starts Python, waits, and dies of SIGTERM at once. Process 1 would ignore a signal without a handler.
LAUNCHER = 'trap "exit 143" TERM; python /step/program.py & wait $!'
STEP = """
import json
from modelmill.components.fine_tuning.step import run
run(**json.load(open("/step/arguments.json")))
"""
RUN = "20260102-030405-abc"


class Launched:
    """A fine-tuning step in its image."""

    def __init__(
        self, folder: Path, store: Store, recipe: str, inputs: dict[str, bytes], env: dict[str, str], network: str
    ) -> None:
        self.store, self.name = store, f"modelmill-preempted-{uuid.uuid4().hex[:8]}"
        for name, data in inputs.items():
            (folder / name).write_bytes(data)
        arguments = {"recipe": recipe, "store": store.uri, "run_id": RUN, "model": "/tmp/model"}
        arguments |= {name: f"/step/{name}" for name in inputs}
        (folder / "arguments.json").write_text(json.dumps(arguments))
        (folder / "program.py").write_text(STEP)
        folder.chmod(0o755)
        environment = {
            **env,
            preemption.POD_VARIABLE: "a-step",
            preemption.GRACE_VARIABLE: "120",
            "HOME": "/nonexistent",
        }
        options = [f"--env={name}={value}" for name, value in environment.items()]
        limits = ["--cpus=0.7", "--memory=2g", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", f"--network={network}"]
        command = ["docker", "run", "--detach", f"--name={self.name}", *limits, *options, f"--volume={folder}:/step:ro"]
        subprocess.run([*command, image_of("fine_tuning"), "sh", "-c", LAUNCHER], check=True, capture_output=True)

    def step(self) -> run_records.StepRecord | None:
        return run_records.read_step(self.store, RUN, "fine_tuning")

    def is_training(self) -> bool:
        record = self.step()
        return record is not None and record.progress is not None and record.progress.done > 3

    def has_ended(self) -> bool:
        said = subprocess.run(
            ["docker", "inspect", "--format", "{{.State.Running}}", self.name],
            capture_output=True,
            text=True,
            check=True,
        )
        return said.stdout.strip() == "false"

    def hook(self) -> int:
        """Run the hook in the container, as the kubelet does."""
        command = ["docker", "exec", self.name, "python", "-m", preemption.MODULE]
        return subprocess.run(command, check=False, timeout=120).returncode

    @property
    def log(self) -> str:
        done = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def remove(self) -> None:
        subprocess.run(["docker", "rm", "--force", self.name], check=True, capture_output=True)


@pytest.fixture
def launched(images: list[str], seaweedfs: SeaweedFS, bucket: str, tmp_path: Path) -> Iterator[Launched]:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"))
    steps = Steps(recipe, tmp_path / "steps", *LONG)
    steps.store = open_store_of(bucket, seaweedfs.env)
    corpus = steps.corpus()
    inputs = {"corpus": corpus.to_json(), "pretrained": steps.pretrained(corpus).to_json()}
    folder = tmp_path / "work"
    folder.mkdir()
    port = urlsplit(seaweedfs.env["AWS_ENDPOINT_URL"]).port
    with one_way_out.network(tmp_path, port, image_of("fine_tuning")) as network:
        step = Launched(folder, steps.store, steps.key, inputs, dict(seaweedfs.env), network)
        try:
            assert wait_until(step.is_training, 240), step.log
            yield step
        finally:
            step.remove()


def test_a_preempted_step_saves_before_its_container_ends(launched: Launched) -> None:
    launched.hook()
    assert wait_until(launched.has_ended, 60)
    record = launched.step()
    assert record is not None and record.problem is not None, launched.log
    assert record.problem.exit_code == 75 and "saved at step" in record.problem.message
    assert f"fine_tuning: {record.problem.message}" in launched.log
    assert any(key.endswith("latest.json") for key in launched.store.list("checkpoints/"))


def test_a_step_is_lost_without_the_hook(launched: Launched) -> None:
    subprocess.run(["docker", "stop", "--time=30", launched.name], check=True, capture_output=True)
    record = launched.step()
    assert record is not None and record.status == "running", "the launcher does not hand SIGTERM on"
    assert not list(launched.store.list("checkpoints/"))


def test_a_step_of_a_cancelled_run_saves_and_ends_by_itself(launched: Launched) -> None:
    cancellation.write(launched.store, RUN, "ann")
    assert wait_until(launched.has_ended, 60), launched.log
    record = launched.step()
    assert record is not None and record.problem is not None and record.status == "cancelled", launched.log
    assert record.problem.message.startswith("cancelled by ann, ") and "; saved at step " in record.problem.message
    assert list(launched.store.list("checkpoints/")), "the key in the image is another, since the image is part of it"
