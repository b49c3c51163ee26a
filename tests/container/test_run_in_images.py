"""`modelmill run --runner docker`: the whole DAG in the images, against real servers."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from components.common.image import image_of
from components.common.store import open_store
from pipelines.runners.docker import IMAGE_USER
from tests import cli
from tests.recipes import table_recipe, write_table
from tests.seaweedfs import SeaweedFS


def upload(seaweedfs: SeaweedFS, folder: Path, bucket: str) -> str:
    """Put a folder's files into a new bucket; returns where."""
    uri = seaweedfs.create_bucket(bucket)
    for file in folder.iterdir():
        seaweedfs.client().upload_file(str(file), bucket, f"data/{file.name}")
    return f"{uri}/data"


@contextmanager
def watched(found: list[dict[str, Any]]) -> Iterator[None]:
    """Collect what Docker knows of every container that starts in the meantime."""
    command = ["docker", "events", "--filter", "event=start", "--filter", "label=modelmill.run", "--format", "{{.ID}}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:

        def inspect() -> None:
            assert events.stdout is not None
            for line in events.stdout:
                said = subprocess.run(["docker", "inspect", line.strip()], capture_output=True, text=True, check=False)
                found.extend(json.loads(said.stdout or "[]"))

        thread = threading.Thread(target=inspect)
        thread.start()
        try:
            yield
        finally:
            events.terminate()
            thread.join()


def run_in_images(recipe: Path, store: str, servers: dict[str, str]) -> dict[str, Any]:
    done = cli.modelmill("run", recipe, "--store", store, "--runner", "docker", "--json", **servers)
    summary: dict[str, Any] = json.loads(done.stdout)
    if summary.get("exit_code"):
        log = open_store_of(store, servers).get(f"runs/{summary['run_id']}/log.txt").decode()
        pytest.fail(f"{summary['reason']}\n{done.stderr}\n{log[-6000:]}")
    return summary


def open_store_of(store: str, servers: dict[str, str]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in servers.items():
            patch.setenv(name, value)
        return open_store(store)


def test_a_recipe_runs_in_the_images_as_nobody_on_a_read_only_root(
    images: list[str], servers: dict[str, str], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    data = upload(seaweedfs, write_table(tmp_path / "data"), "table-in-images")
    recipe = table_recipe(tmp_path, tmp_path, data__path=data)
    store = seaweedfs.create_bucket("store-in-images")
    started: list[dict[str, Any]] = []

    with watched(started):
        summary = run_in_images(recipe, store, {**servers, "MODELMILL_KFP_TOKEN": "hush-hush"})

    assert summary["outcome"] == "registered"
    assert set(cli.statuses(summary).values()) == {"ran"}
    assert {container["Config"]["Image"] for container in started} == set(images)
    for container in started:
        host, config = container["HostConfig"], container["Config"]
        assert config["User"] == f"{IMAGE_USER}:{IMAGE_USER}"
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert "hush-hush" not in json.dumps(container)
    version = MlflowClient(servers["MLFLOW_TRACKING_URI"]).get_model_version("tiny-table", "1")
    assert version.status == "READY"
    opened = open_store_of(store, servers)
    assert b"tiny-table" in opened.get(f"runs/{summary['run_id']}/report.html")
    again = run_in_images(recipe, store, servers)
    assert set(cli.statuses(again).values()) == {"reused"}


def test_a_command_that_is_killed_leaves_no_container(
    images: list[str], servers: dict[str, str], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    data = upload(seaweedfs, write_table(tmp_path / "data"), "table-of-killed")
    recipe = table_recipe(tmp_path, tmp_path, data__path=data, name="killed-table")
    store = seaweedfs.create_bucket("store-of-killed")
    asked = ["run", recipe, "--store", store, "--runner", "docker"]

    with cli.started(*asked, **servers) as process:
        assert cli.wait_until(lambda: bool(running_containers()), 60)
        process.kill()

    assert cli.wait_until(lambda: not running_containers(), 30)
    assert cli.wait_until(lambda: not cli.processes_of(Path(store)), 30)
    assert not running_containers()


def running_containers() -> list[str]:
    command = ["docker", "ps", "--all", "--quiet", "--filter", "label=modelmill.run"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_a_missing_image_is_said_before_any_work(
    images: list[str], servers: dict[str, str], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    data = upload(seaweedfs, write_table(tmp_path / "data"), "table-without-image")
    recipe = table_recipe(tmp_path, tmp_path, data__path=data)
    store = seaweedfs.create_bucket("store-without-image")
    missing = image_of("evaluation")
    subprocess.run(["docker", "tag", missing, "modelmill-test/kept:1"], check=True)
    try:
        subprocess.run(["docker", "rmi", missing], check=True, capture_output=True)
        done = cli.modelmill("run", recipe, "--store", store, "--runner", "docker", **servers)
    finally:
        subprocess.run(["docker", "tag", "modelmill-test/kept:1", missing], check=True)
        subprocess.run(["docker", "rmi", "modelmill-test/kept:1"], check=True, capture_output=True)
    assert done.returncode == 2
    assert missing in done.stderr and "make images" in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(open_store_of(store, servers).list("")) == []
