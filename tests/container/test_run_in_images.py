"""`modelmill run --runner docker`: the whole DAG in the images, against real servers."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from modelmill.core.image import image_of
from modelmill.pipelines.runners.docker import IMAGE_USER
from modelmill.runtime import run_records
from modelmill.store import Store
from tests import cli, receivers
from tests.container import postgres
from tests.container.runs import Seen, containers_of, open_store_of, run_in_images, upload, watched
from tests.recipes import language_recipe, table_recipe, write_corpus, write_table
from tests.seaweedfs import SeaweedFS

# Enough to go through every step; in a container it is the imports that take their time.
_FEW_STEPS = {"pretraining__steps": 4, "fine_tuning__steps": 2, "evaluation__sample_tokens": 2}
# Secrets, each where a person puts it; the servers take none but the store's, so they may be anything.
_SECRETS = {
    "MLFLOW_TRACKING_TOKEN": "planted-1-token",
    "MODELMILL_KFP_TOKEN": "planted-2-token",
    "MODELMILL_NOTIFY_SECRET": "planted-3-secret",
    "MODELMILL_SMTP_PASSWORD": "planted-4-password",
}
_PASSWORD, _PATH = "planted-5-password", "planted-6-path"


@dataclass
class Ran:
    """A run, the same command again, and what both have left."""

    summary: dict[str, Any]
    again: dict[str, Any]
    said: str
    seen: Seen
    webhook: receivers.Posts
    environment: dict[str, str]
    store: Store


@pytest.fixture(scope="module")
def ran(
    images: list[str], servers: dict[str, str], seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ran]:
    """A run of a recipe that trains in all steps, with secrets wherever one can be."""
    folder: Path = tmp_path_factory.mktemp("tiny-lm")
    data = upload(seaweedfs, write_corpus(folder / "data"), "tiny-lm-data")
    recipe = language_recipe(folder, folder, data__path=data, **_FEW_STEPS)
    store = seaweedfs.create_bucket("tiny-lm-store")
    with receivers.posts() as webhook, receivers.posts(404) as slack, watched(folder / "seen") as seen:
        environment = {
            **servers,
            **_SECRETS,
            "MLFLOW_TRACKING_URI": servers["MLFLOW_TRACKING_URI"].replace("://", f"://somebody:{_PASSWORD}@"),
            "MODELMILL_NOTIFY_WEBHOOK": f"{webhook.uri}/{_PATH}",
            "MODELMILL_NOTIFY_SLACK": f"{slack.uri}/{_PATH}",
        }
        first, second = (run_in_images(recipe, store, environment) for _ in range(2))
    said = "".join([first.stdout, first.stderr, second.stdout, second.stderr])
    summary, again = json.loads(first.stdout), json.loads(second.stdout)
    opened = open_store_of(store, environment)
    yield Ran(summary, again, said, seen, webhook, environment, opened)


def test_a_recipe_runs_in_the_images_and_costs_nothing_again(ran: Ran, images: list[str]) -> None:
    assert ran.summary["outcome"] == "registered"
    assert set(cli.statuses(ran.summary).values()) == {"ran"}
    assert set(cli.statuses(ran.again).values()) == {"reused"}
    assert {container["Config"]["Image"] for container in ran.seen.containers} == set(images)
    uri = ran.environment["MLFLOW_TRACKING_URI"]
    version = MlflowClient(uri, registry_uri=uri).get_model_version("tiny-lm", "1")
    assert version.status == "READY"
    assert b"tiny-lm" in ran.store.get(run_records.report_key(ran.summary["run_id"]))


def test_steps_run_as_nobody_on_a_read_only_root(ran: Ran) -> None:
    for container in ran.seen.containers:
        host, config = container["HostConfig"], container["Config"]
        assert config["User"] == f"{IMAGE_USER}:{IMAGE_USER}"
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
        assert host["SecurityOpt"] == ["no-new-privileges"]


def test_a_container_is_given_the_secrets_that_it_needs(ran: Ran) -> None:
    """Nobody but the report is told whom to notify, and it does so."""
    for container in ran.seen.containers:
        told = json.dumps(container)
        is_report = "modelmill.components.reporting" in told
        assert (_PATH in told) == (_SECRETS["MODELMILL_NOTIFY_SECRET"] in told) == is_report
        assert _SECRETS["MODELMILL_KFP_TOKEN"] not in told
    assert ran.webhook.paths == [f"/{_PATH}"] * 2
    assert [document["run_id"] for document in ran.webhook.documents] == [ran.summary["run_id"], ran.again["run_id"]]


def test_no_secret_is_in_what_a_run_says_and_leaves(ran: Ran, seaweedfs: SeaweedFS, database: str) -> None:
    left = {f"{bucket}/{key}": data for bucket in seaweedfs.buckets() for key, data in objects(seaweedfs, bucket)}
    left["standard output and error"] = ran.said.encode()
    left["MLflow's database"] = postgres.dump(database).encode()
    left |= {f"container {number}": log.encode() for number, log in enumerate(ran.seen.logs)}
    left |= {f"notification {number}": body for number, body in enumerate(ran.webhook.bodies)}
    # The search looks where something is.
    run = f"tiny-lm-store/runs/{ran.summary['run_id']}"
    for name in ("run.json", "outcome.json", "report.html", "log.txt", "logs/evaluation.txt", "logs/registration.txt"):
        assert left[f"{run}/{name}"]
    assert ran.summary["run_id"] in left["MLflow's database"].decode()
    assert len(ran.seen.logs) == len(ran.seen.containers) and all(ran.seen.logs)

    for secret in {*_SECRETS.values(), _PASSWORD, _PATH, seaweedfs.access_key, seaweedfs.secret_key}:
        assert [name for name, data in left.items() if secret.encode() in data] == [], secret


def objects(seaweedfs: SeaweedFS, bucket: str) -> Iterator[tuple[str, bytes]]:
    """The keys and bytes of all that a bucket holds."""
    client = seaweedfs.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            yield found["Key"], client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read()


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["command", "its-group"])
def test_a_command_that_is_killed_leaves_no_container(
    kill: Callable[[int, int], None], images: list[str], servers: dict[str, str], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    data = upload(seaweedfs, write_table(tmp_path / "data"), f"killed-data-{kill.__name__}")
    recipe = table_recipe(tmp_path, tmp_path, data__path=data, name="killed-table")
    store = seaweedfs.create_bucket(f"killed-store-{kill.__name__}")
    opened = open_store_of(store, servers)

    # All that belongs to the command names its store: in the environment, or, the step itself, as an argument.
    with cli.started("run", recipe, "--runner", "docker", **servers, MODELMILL_STORE=store) as process:
        assert cli.wait_until(lambda: any(map(containers_of, run_records.run_ids(opened))), 120)
        kill(process.pid, signal.SIGKILL)

    assert cli.wait_until(lambda: not cli.processes_of(store), 120), "its runner, its step or what removes it lives on"
    (run_id,) = run_records.run_ids(opened)
    assert not containers_of(run_id)
    step = run_records.read_step(opened, run_id, "data_validation")
    assert step is None or step.status == "running", "it went on to its end"


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
