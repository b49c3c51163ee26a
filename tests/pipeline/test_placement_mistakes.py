"""What is wrong with a recipe on a cluster is one line, said before anything is compiled."""

from pathlib import Path
from typing import Any

import pytest

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import examining, placement, settings
from tests import cli
from tests.clusters import DIGEST, PROFILES, cluster_file, gpu_recipe

# What is wrong, the changes to the recipe, to the cluster file and to the profiles, and what the one line says.
Mistake = tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[str]]
GPU_IMAGES = {"registry": "r", "gpu": True}
MISTAKES: dict[str, Mistake] = {
    "an unknown profile": (
        {"resources": {"pretraining": {"profile": "gpu-a10"}}},
        {},
        {},
        ["resources.pretraining.profile", "'gpu-a10'", "profiles.yaml", "did you mean 'gpu-a100'?"],
    ),
    "GPUs without GPU images": (
        {},
        {"images": {"registry": "r"}},
        {},
        ["resources.pretraining", "gpu-a100", "images.gpu", "make images GPU=1"],
    ),
    "a GPU profile for a CPU image": (
        {"resources": {"preprocessing": {"profile": "gpu-spot"}}},
        {},
        {},
        ["resources.preprocessing", "gpu-spot", "pretraining, fine_tuning, evaluation"],
    ),
    "a count of GPUs for a CPU image": (
        {"resources": {"registration": {"gpu": 1}}},
        {},
        {},
        ["resources.registration", "gpu asks for an accelerator"],
    ),
    "an image without a digest": (
        {},
        {"images": GPU_IMAGES | {"pinned": True, "digests": {"data-validation": DIGEST}}},
        {},
        ["images.digests", "preprocessing", "images.pinned"],
    ),
    "a digest of no image": (
        {},
        {"images": GPU_IMAGES | {"digests": {"data_validation": DIGEST}}},
        {},
        ["cluster.yaml", "images.digests", "did you mean 'data-validation'?"],
    ),
    "data on this machine": ({"data__path": "data"}, {}, {}, ["data.path", "on this machine", "s3://"]),
    "weights on this machine": (
        {"pretraining__init": "weights"},
        {},
        {},
        ["pretraining.init", "on this machine", "modelmill import", "/weights --as NAME", "models:/NAME/VERSION"],
    ),
    "a tokenizer on this machine": (
        {"preprocessing__tokenizer": {"from": "tokenizer"}},
        {},
        {},
        ["preprocessing.tokenizer.from", "on this machine", "modelmill import"],
    ),
    "a profile beside a count of GPUs": (
        {"resources": {"pretraining": {"profile": "gpu-a100", "gpu": 8}}},
        {},
        {},
        ["resources.pretraining", "gpu-a100", "leave out gpu"],
    ),
    "more devices than accelerators": (
        {"pretraining__devices": 4},
        {},
        {},
        ["pretraining.devices: 4", "resources.pretraining", "2"],
    ),
    "less memory than the profile's shm": (
        {"resources": {"pretraining": {"profile": "gpu-a100", "memory": "16Gi"}}},
        {},
        {},
        ["resources.pretraining.memory", "shm"],
    ),
    "an unknown key of a profile": (
        {},
        {},
        {"profiles": {"cpu-small": {"memroy": "2Gi"}}},
        ["profiles.yaml", "profiles.cpu-small: memroy", "did you mean 'memory'?"],
    ),
    "an unknown key of a toleration": (
        {},
        {},
        {"profiles": {"cpu-small": {"tolerations": [{"key": "a", "effct": "NoSchedule"}]}}},
        ["profiles.yaml", "profiles.cpu-small: tolerations.0.effct", "did you mean 'effect'?"],
    ),
    "a default that is no profile": ({}, {}, {"default": "cpu-smal"}, ["default", "did you mean 'cpu-small'?"]),
    "more shm than memory": (
        {},
        {},
        {"profiles": {"cpu-small": {"shm": "4Gi", "memory": "4G"}}},
        ["profiles.cpu-small", "shm", "memory"],
    ),
    "a password in an address": (
        {},
        {"endpoint": "http://me:hush-hush@store:9000"},
        {},
        ["cluster.yaml", "endpoint", "password", "Secret"],
    ),
    "a store that steps do not reach": (
        {},
        {"endpoint": "http://localhost:9000"},
        {},
        ["endpoint", "localhost", "no step"],
    ),
    "an MLflow that steps do not reach": (
        {},
        {"mlflow": "http://127.0.0.1:5000"},
        {},
        ["mlflow", "127.0.0.1", "no step"],
    ),
    "no profiles file": ({}, {"profiles": "elsewhere.yaml"}, {}, ["elsewhere.yaml", "k8s/profiles.yaml"]),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_before_anything_is_compiled(mistake: Mistake, tmp_path: Path) -> None:
    in_recipe, in_cluster, in_profiles, said = mistake
    cluster = cluster_file(tmp_path, PROFILES | in_profiles, **in_cluster)
    recipe, file = gpu_recipe(tmp_path, **in_recipe), tmp_path / "pipeline.yaml"
    with pytest.raises(UserError) as caught:
        placement.compile_for(recipes.load(recipe), settings.load(cluster), str(file))
    for words in said:
        assert words in str(caught.value)
    assert "\n" not in str(caught.value) and "hush-hush" not in str(caught.value)
    assert not file.exists()


def test_doctor_finds_a_store_that_no_step_reaches(tmp_path: Path) -> None:
    checks = examining.checks_of(cluster_file(tmp_path, endpoint="http://localhost:9000"), None, None)
    with pytest.raises(UserError, match=r"^endpoint: http://localhost:9000 is this machine, which no step reaches"):
        checks["store"]()


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    recipe = gpu_recipe(tmp_path, resources={"pretraining": {"profile": "gpu-a10"}})
    done = cli.modelmill("compile", recipe, "--cluster", cluster_file(tmp_path), "-o", tmp_path / "made" / "p.yaml")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "gpu-a100" in done.stderr
    assert not (tmp_path / "made").exists()


def test_a_store_beside_a_cluster_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    cluster = cluster_file(tmp_path)
    done = cli.modelmill("compile", gpu_recipe(tmp_path), "--cluster", cluster, "--store", "s3://other", "-o", file)
    assert done.returncode == 2 and "the store is the cluster's" in done.stderr


def test_without_a_cluster_a_profile_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    done = cli.modelmill("compile", gpu_recipe(tmp_path), "-o", file, "--store", f"file://{tmp_path}/store")
    assert done.returncode == 0 and "--cluster FILE" in done.stderr
    assert "platforms" not in file.read_text()
