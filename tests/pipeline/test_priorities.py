"""Who waits for a run goes before who does not: the PriorityClass of every step, by how the run was asked for."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from modelmill import recipe as recipes
from modelmill.pipelines.cluster import applying, placement, settings
from modelmill.pipelines.trigger.claims import Asker, Kind
from modelmill.pipelines.trigger.cluster_runs import ClusterRuns
from modelmill.store import open_store
from tests import cli, kfp_cluster
from tests.clusters import PROFILES, cluster_file, gpu_recipe
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer

INTERACTIVE, SCHEDULED = "modelmill-interactive", "modelmill-scheduled"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)


def priorities(kfp: KfpServer) -> set[str]:
    """Of every step of the one version that the server has."""
    [file] = kfp.files.values()
    found = re.findall(r"modelmill.dev/priority: (\S+)", file.decode())
    # Six tasks: the recipe has no pretraining.
    assert len(found) == file.decode().count("modelmill.dev/step: ") >= 6
    return set(found)


def test_a_run_that_a_person_submits_is_interactive(
    kfp: KfpServer, call: Callable[..., Done], bucket: str, tmp_path: Path
) -> None:
    done = call("submit", cluster_recipe(tmp_path), "--cluster", write_cluster(tmp_path, kfp.url, bucket))
    assert done.code == 0, done.err
    assert priorities(kfp) == {INTERACTIVE}


def test_a_recurring_run_is_scheduled(kfp: KfpServer, bucket: str, tmp_path: Path) -> None:
    recipe, file = cluster_recipe(tmp_path), tmp_path / "schedules.yaml"
    schedule = {"name": "nightly", "recipe": recipe.name, "cron": "@daily", "if_changed": False}
    file.write_text(yaml.safe_dump({"schedules": [schedule]}))
    applying.apply(file, write_cluster(tmp_path, kfp.url, bucket))
    assert priorities(kfp) == {SCHEDULED}


@pytest.mark.parametrize(
    ("kind", "priority"),
    [("manual", INTERACTIVE), ("event", SCHEDULED), ("poll", SCHEDULED), ("schedule", SCHEDULED), ("drift", SCHEDULED)],
)
def test_a_trigger_is_interactive_where_a_person_has_asked(
    kfp: KfpServer, bucket: str, tmp_path: Path, kind: Kind, priority: str
) -> None:
    recipe, file = recipes.load(cluster_recipe(tmp_path), None), write_cluster(tmp_path, kfp.url, bucket)
    runs = ClusterRuns(settings.load(file), open_store(bucket), file)
    run_id = runs.submit(recipe, Asker(by="ann", kind=kind, reason="new rows"))
    assert kfp.runs[run_id].description == f"Requested by ann: {kind}: new rows"
    assert priorities(kfp) == {priority}


def test_what_a_profile_names_goes_before_both(tmp_path: Path) -> None:
    gpu = PROFILES["profiles"]["gpu-a100"] | {"priority": "research"}
    profiles = PROFILES | {"profiles": PROFILES["profiles"] | {"gpu-a100": gpu}}
    recipe, cluster = recipes.load(gpu_recipe(tmp_path)), settings.load(cluster_file(tmp_path, profiles))
    for priority in (INTERACTIVE, SCHEDULED):
        placement.compile_for(recipe, cluster, "pipeline.yaml", priority=priority)
        found = re.findall(r"modelmill.dev/priority: (\S+)", Path("pipeline.yaml").read_text())
        assert (found.count("research"), set(found)) == (1, {"research", priority})


def test_both_are_classes_of_the_cluster() -> None:
    documents = yaml.safe_load_all((cli.ROOT / "k8s" / "base" / "priorities.yaml").read_text())
    classes = {one["metadata"]["name"] for one in documents if one["kind"] == "PriorityClass"}
    assert classes >= {placement.INTERACTIVE, placement.SCHEDULED}
