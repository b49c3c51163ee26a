"""What kustomize makes of the overlays, and ways to look at it."""

import functools
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
BIN = Path(sysconfig.get_path("scripts"))
OVERLAYS = ["kind", "minikube", "production"]
Resource = dict[str, Any]


@functools.cache
def kfp() -> list[Resource]:
    """KFP as it is installed: k8s/vendor with the patches of k8s/kfp."""
    return kustomize(K8S / "kfp")


def kustomize(folder: Path) -> list[Resource]:
    """What `kubectl kustomize FOLDER` prints."""
    done = subprocess.run([BIN / "kubectl", "kustomize", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@functools.cache
def render(overlay: str) -> list[Resource]:
    return kustomize(K8S / "overlays" / overlay)


@functools.cache
def made_secrets() -> dict[str, dict[str, str]]:
    """The Secrets that a kind or minikube cluster gets, by name."""
    done = subprocess.run([K8S / "local-secrets"], capture_output=True, text=True, check=True)
    return {one["metadata"]["name"]: one["stringData"] for one in yaml.safe_load_all(done.stdout) if one}


def of_kind(overlay: str, *kinds: str) -> list[Resource]:
    return [one for one in render(overlay) if one["kind"] in kinds]


def named(overlay: str, kind: str, name: str) -> Resource:
    (found,) = [one for one in of_kind(overlay, kind) if one["metadata"]["name"] == name]
    return found


def templates(resource: Resource) -> Iterator[Resource]:
    """The pod templates that are somewhere in a resource."""
    for key, value in resource.items():
        if key == "template" and isinstance(value, dict) and "containers" in value.get("spec", {}):
            yield value
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from templates(inner)


def pods(overlay: str) -> Iterator[tuple[str, Resource]]:
    """Every pod template of an overlay, with a name to show."""
    for resource in render(overlay):
        for template in templates(resource):
            yield f"{resource['kind']}/{resource['metadata']['name']}", template


def containers(overlay: str) -> Iterator[tuple[str, Resource, Resource]]:
    """Every container with a name to show and the spec of its pod."""
    for name, template in pods(overlay):
        spec = template["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            yield f"{name}/{container['name']}", container, spec
