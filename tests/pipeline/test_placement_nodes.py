"""A training on several nodes: its step's pod is small and on a CPU node, and its nodes get what the profile says."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmill.runtime.node import Node
from tests.clusters import cluster_file, gpu_recipe
from tests.pipeline.test_compile import compiled as compiled_for_any
from tests.pipeline.test_compile import executors
from tests.pipeline.test_placement import CPU_NODE, GPU_NODE, Compiled, compiled_here, takes


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    folder = tmp_path_factory.mktemp("placed")
    changes: dict[str, Any] = {"pretraining__nodes": 4, "pretraining__devices": 2, "pretraining__batch_size": 16}
    return compiled_here(gpu_recipe(folder, **changes), cluster_file(folder), folder / "pipeline.yaml")


def node_of(placed: Compiled) -> Node:
    return Node.model_validate_json(placed.environment("pretraining")["MODELMILL_NODE"])


def test_the_step_that_waits_has_no_accelerator_and_is_on_a_cpu_node(placed: Compiled) -> None:
    pod, asked = placed.pods["pretraining"], placed.containers["pretraining"]["resources"]
    assert "accelerator" not in asked
    assert (asked["resourceCpuLimit"], asked["resourceMemoryLimit"]) == ("1", "2Gi")
    assert "tolerations" not in pod and "nodeSelector" not in pod
    assert [mount["mountPath"] for mount in pod["emptyDirMounts"]] == ["/tmp"], "no memory for the GPUs' processes"
    [conditions] = placed.required("pretraining")
    assert not takes(conditions, GPU_NODE) and takes(conditions, CPU_NODE)


def test_it_waits_as_long_and_is_tried_as_often_as_its_profile_says(placed: Compiled) -> None:
    assert int(placed.pods["pretraining"]["activeDeadlineSeconds"]) == 3 * 24 * 3600
    assert placed.pods["pretraining"]["podMetadata"]["labels"]["modelmill.dev/priority"] == "modelmill-scheduled"


def test_its_nodes_get_what_the_profile_says(placed: Compiled) -> None:
    node = node_of(placed)
    assert node.resources == {"cpu": "12", "memory": "96Gi", "nvidia.com/gpu": 2}
    assert node.shm == "16Gi"
    assert node.tolerations == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert node.labels == {
        "modelmill.dev/step": "pretraining",
        "modelmill.dev/priority": "modelmill-scheduled",
        "modelmill.dev/profile": "gpu-a100",
    }
    rules = node.affinity["nodeAffinity"]
    [term] = rules["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A100"]}]
    [wish] = rules["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["weight"] == 50 and wish["preference"]["matchExpressions"][0]["key"] == "example.com/fabric"


def test_the_image_that_makes_the_key_is_the_one_that_trains(placed: Compiled) -> None:
    image = placed.containers["pretraining"]["image"]
    assert "/pretraining-gpu:" in image and placed.environment("pretraining")["MODELMILL_IMAGE"] == image


def test_a_step_on_one_node_is_told_of_no_other(placed: Compiled) -> None:
    assert [name for name in placed.containers if "MODELMILL_NODE" in placed.environment(name)] == ["pretraining"]
    assert placed.containers["fine-tuning"]["resources"]["accelerator"]["resourceCount"] == "1"


def test_nodes_without_an_accelerator_are_no_gpu_nodes(tmp_path: Path) -> None:
    recipe = gpu_recipe(tmp_path, pretraining__nodes=2, resources={"pretraining": {"profile": "cpu-large"}})
    node = node_of(compiled_here(recipe, cluster_file(tmp_path), tmp_path / "pipeline.yaml"))
    rules = node.affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [term] = rules["nodeSelectorTerms"]
    assert not takes(term["matchExpressions"], GPU_NODE) and takes(term["matchExpressions"], CPU_NODE)


def test_without_a_cluster_file_the_step_that_waits_asks_for_no_gpu_either(tmp_path: Path) -> None:
    recipe = gpu_recipe(
        tmp_path, pretraining__nodes=2, resources={"pretraining": {"gpu": 2}, "fine_tuning": {"gpu": 1}}
    )
    spec, _ = compiled_for_any(recipe, tmp_path / "pipeline.yaml")
    made = executors(spec)
    assert "accelerator" not in json.dumps(made["pretraining"].get("resources", {}))
    assert made["fine-tuning"]["resources"]["accelerator"]["resourceCount"] == "1"
