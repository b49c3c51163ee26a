"""Clusters for tests: a cluster file with profiles of nodes, and a recipe that uses them."""

from pathlib import Path
from typing import Any

import yaml

from tests.recipes import language_recipe, write_corpus

DIGEST = "sha256:" + "ab" * 32
PROFILES: dict[str, Any] = {
    "default": "cpu-small",
    "profiles": {
        "cpu-small": {"cpu": "1", "memory": "2Gi", "timeout": "6h"},
        "cpu-large": {
            "cpu": "8",
            "memory": "32Gi",
            "affinity": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}],
        },
        "gpu-a100": {
            "accelerator": {"type": "nvidia.com/gpu", "count": 2},
            "cpu": "12",
            "memory": "96Gi",
            "shm": "16Gi",
            "affinity": [
                {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A100"]},
                {"key": "example.com/fabric", "operator": "Exists", "weight": 50},
            ],
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "priority": "modelmill-scheduled",
            "timeout": "3d",
        },
        "gpu-spot": {
            "accelerator": {"count": 1},
            "node_selector": {"modelmill.dev/capacity": "spot"},
            "tolerations": [{"key": "modelmill.dev/capacity", "operator": "Equal", "value": "spot"}],
            "retries": 20,
            "backoff": "1m",
        },
    },
}


def cluster_file(folder: Path, profiles_document: Any = None, **changes: Any) -> Path:
    """A cluster with GPU images, and its profiles beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "kfp": {"host": "https://kfp.example.com"},
        "store": "s3://models/store",
        "endpoint": "http://seaweedfs:9000",
        "mlflow": "http://mlflow:5000",
        "images": {"registry": "registry.example.com/ml", "gpu": True},
    }
    (folder / "profiles.yaml").write_text(yaml.safe_dump(profiles_document or PROFILES))
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(document | changes))
    return path


def gpu_recipe(folder: Path, **changes: Any) -> Path:
    """Texts in several groups of shards; training on two kinds of GPU nodes."""
    resources = {
        "preprocessing": {"profile": "cpu-large", "memory": "48Gi"},
        "pretraining": {"profile": "gpu-a100"},
        "fine_tuning": {"profile": "gpu-spot"},
    }
    write_corpus(folder / "data")
    changes = {"data__path": "s3://raw/texts", "data__groups": 2, "resources": resources} | changes
    return language_recipe(folder, folder / "data", **changes)
