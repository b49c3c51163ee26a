"""What `modelmill compile` writes for a cluster."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill import recipe as recipes
from modelmill.core.image import image_of
from modelmill.recipe import stored
from modelmill.recipe.step_specs import STAGES, STEPS
from modelmill.store import open_store
from tests import cli
from tests.kfp_cluster import write_cluster
from tests.recipes import table_recipe, write_table
from tests.seaweedfs import SeaweedFS

RECIPES = sorted((cli.ROOT / "recipes").glob("*.yaml"))
MOST_BYTES = 40_000


def compiled(recipe: Path, file: Path, *arguments: str, **env: str) -> tuple[dict[str, Any], str]:
    """The pipeline spec, and the file as text; the store is beside the file."""
    store = ("--store", f"file://{file.parent}/store")
    done = cli.modelmill("compile", recipe, "-o", file, *store, *arguments, **env)
    assert done.returncode == 0, done.stderr
    text = file.read_text()
    return next(iter(yaml.safe_load_all(text))), text


def executors(spec: dict[str, Any]) -> dict[str, Any]:
    """The container of each component, by the component's name."""
    labels = {name: c["executorLabel"] for name, c in spec["components"].items() if "executorLabel" in c}
    containers = spec["deploymentSpec"]["executors"]
    return {name.removeprefix("comp-"): containers[label]["container"] for name, label in labels.items()}


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    return {name: task for dag in dags for name, task in dag["tasks"].items()}


def stages_of(recipe: Path) -> list[tuple[str, bool]]:
    """The stages that a recipe has, and whether each is the only one."""
    loaded = recipes.load(recipe)
    stages = [stage for stage in STAGES if getattr(loaded, stage) is not None]
    return [(stage, len(stages) == 1) for stage in stages]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_every_recipe_compiles_small_with_an_image_a_step(recipe: Path, tmp_path: Path) -> None:
    spec, text = compiled(recipe, tmp_path / "pipeline.yaml")
    assert len(text.encode()) < MOST_BYTES
    images = {name.replace("-", "_"): container["image"] for name, container in executors(spec).items()}
    for ahead in ("shard_scan", "fitting", "shard_encoding"):  # where there are several groups of shards
        images.pop(ahead, None)
    tasks = {f"only_{one}" if only else one: one for one, only in stages_of(recipe)}
    others = [step for step in (*STEPS, "reporting") if step not in STAGES]
    assert images == {task: image_of(step) for task, step in (tasks | dict(zip(others, others, strict=True))).items()}
    assert "pip install" not in text and "pip3 install" not in text


def test_registration_waits_for_the_gate_and_the_report_for_everything(tmp_path: Path) -> None:
    spec, _ = compiled(RECIPES[0], tmp_path / "pipeline.yaml")
    every = tasks(spec)
    gated = next(task for task in every.values() if task["taskInfo"]["name"] == "gate-passed")
    condition = gated["triggerPolicy"]["condition"]
    assert condition.endswith("== true") and "evaluation" in condition
    assert every["reporting"]["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"


def test_a_dag_can_gate_on_drift(tmp_path: Path) -> None:
    spec, _ = compiled(RECIPES[0], tmp_path / "pipeline.yaml")
    outputs = spec["components"]["comp-data-validation"]["outputDefinitions"]["parameters"]
    assert {name: kind["parameterType"] for name, kind in outputs.items()} == {
        "drifted": "BOOLEAN",
        "drift": "NUMBER_DOUBLE",
    }


def test_kfp_never_reuses_a_step_by_its_own_cache(tmp_path: Path) -> None:
    spec, _ = compiled(RECIPES[0], tmp_path / "pipeline.yaml")
    leaves = {name: task for name, task in tasks(spec).items() if name.replace("-", "_") in {*STEPS, "reporting"}}
    assert len(leaves) == 7
    assert not [name for name, task in leaves.items() if task.get("cachingOptions", {}).get("enableCache")]


def test_resources_of_the_recipe_are_asked_for(tmp_path: Path) -> None:
    resources = {"fine_tuning": {"cpu": "1500m", "memory": "3Gi", "gpu": 2}}
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), resources=resources)
    spec, _ = compiled(recipe, tmp_path / "pipeline.yaml")
    asked = executors(spec)["only-fine-tuning"]["resources"]
    assert (asked["resourceCpuLimit"], asked["resourceMemoryLimit"]) == ("1500m", "3Gi")
    assert asked["accelerator"].items() >= {"resourceCount": "2", "resourceType": "nvidia.com/gpu"}.items()
    assert "resources" not in executors(spec)["evaluation"]


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    secrets = {"AWS_SECRET_ACCESS_KEY": "hush-hush-1", "MLFLOW_TRACKING_PASSWORD": "hush-hush-2"}
    _, text = compiled(RECIPES[0], tmp_path / "pipeline.yaml", **secrets)
    assert "hush-hush" not in text
    assert f"file://{tmp_path}/store" in text


def test_a_file_can_be_started_as_it_is_for_its_recipe_is_in_the_store(
    seaweedfs: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    recipe = table_recipe(tmp_path, tmp_path / "data", data__path="s3://raw/table")
    cluster = ("--cluster", write_cluster(tmp_path, "http://kfp.invalid", f"{bucket}/mill"))
    for uri, more in (
        (f"file://{tmp_path}/store", ("--store", f"file://{tmp_path}/store")),
        (f"{bucket}/mill", cluster),
    ):
        done = cli.modelmill("compile", recipe, "-o", tmp_path / "pipeline.yaml", *more, **seaweedfs.env)
        assert done.returncode == 0, done.stderr
        spec = next(iter(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())))
        defaults = {name: of["defaultValue"] for name, of in spec["root"]["inputDefinitions"]["parameters"].items()}
        assert defaults == {"recipe": stored.key_of(recipes.load(recipe)), "store": uri}
        assert recipes.from_json(stored.read(open_store(uri), defaults["recipe"])) == recipes.load(recipe)


def test_a_store_that_is_not_seen_from_here_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    recipe = table_recipe(tmp_path, tmp_path / "data", data__path="s3://raw/table")
    cluster, file = write_cluster(tmp_path, "http://kfp.invalid"), tmp_path / "made" / "pipeline.yaml"
    done = cli.modelmill("compile", recipe, "--cluster", cluster, "-o", file)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "a run's recipe is written there first, and cannot be from here" in done.stderr
    assert not file.parent.exists()


def test_the_same_recipe_compiles_to_the_same_file(tmp_path: Path) -> None:
    first, second = (compiled(RECIPES[0], tmp_path / name)[1] for name in ("a.yaml", "b.yaml"))
    assert first == second


def test_a_file_that_kfp_would_not_read_is_refused(tmp_path: Path) -> None:
    done = cli.modelmill("compile", RECIPES[0], "-o", tmp_path / "pipeline.txt")
    assert done.returncode == 2
    assert "KFP reads .yaml files" in done.stderr
    assert not list(tmp_path.iterdir())
