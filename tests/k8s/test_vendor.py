"""Other projects' manifests are here, whole and pinned; with our patches they are what a cluster takes."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.k8s.rendered import BIN, K8S, kfp, kustomize, templates

VENDOR = K8S / "vendor"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def renew() -> ModuleType:
    spec = importlib.util.spec_from_file_location("renew", VENDOR / "renew.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_installing_clones_nothing() -> None:
    files = [*K8S.rglob("kustomization.yaml"), *(path for path in K8S.iterdir() if path.is_file())]
    assert K8S / "install" in files and VENDOR / "kfp" / "kustomization.yaml" in files
    for file in files:
        assert not re.search(r"https://(github\.com|raw\.)|\?ref=|git@", file.read_text()), file


def test_each_file_is_small_and_says_whose_it_is_and_under_which_licence(renew: ModuleType) -> None:
    for folder, (names, _) in renew.RENDERED.items():
        texts = [path for path in (VENDOR / folder).iterdir() if path.suffix == ".yaml"]
        assert texts
        for name in names:
            project = renew.PROJECTS[name]
            assert "Apache License" in (VENDOR / folder / f"LICENSE.{name}").read_text()
            for file in texts:
                said = file.open().readline()
                assert f"{project.repository} {project.tag}" in said and "Apache-2.0" in said, file
                assert file.stat().st_size < MEGABYTE, file


def test_images_have_the_versions_that_are_said(renew: ModuleType) -> None:
    images = {
        container["image"]
        for resource in [*kfp(), *kustomize(VENDOR / "trainer")]
        for template in templates(resource)
        for container in template["spec"]["containers"]
    }
    for image in images:
        assert re.search(r":[^:]*\d[^:]*$", image) and not image.endswith(":latest"), image
    tags = {image.rpartition(":")[0].rpartition("/")[2]: image.rpartition(":")[2] for image in images}
    assert tags["kfp-api-server"] == renew.PROJECTS["pipelines"].tag
    assert tags["workflow-controller"] == renew.PROJECTS["argo-workflows"].tag
    assert tags["trainer-controller-manager"] == renew.PROJECTS["trainer"].tag
    assert tags["jobset"] == renew.PROJECTS["jobset"].tag


def test_kinds_are_defined_before_they_are_used() -> None:
    defined = {
        one["spec"]["names"]["kind"]
        for one in [*kustomize(K8S / "kfp" / "cluster"), *kustomize(VENDOR / "trainer")]
        if one["kind"] == "CustomResourceDefinition"
    }
    assert {"Workflow", "WorkflowTaskResult", "ScheduledWorkflow", "TrainJob", "TrainingRuntime", "JobSet"} <= defined


def test_kfp_is_in_our_namespace_with_our_settings() -> None:
    resources = kfp()
    placed = [one for one in resources if one["kind"] in {"Deployment", "ConfigMap", "Role"}]
    assert {one["metadata"]["namespace"] for one in placed} == {"modelmill"}
    names = {(one["kind"], one["metadata"]["name"]) for one in resources}
    assert not [name for kind, name in names if kind == "Secret"]
    assert not [name for kind, name in names if kind == "Deployment" and name.startswith("cache-")]
    assert ("ConfigMap", "kfp-launcher") not in names, "that of k8s/base stands"
    by_name = {one["metadata"]["name"]: one for one in resources if one["kind"] in {"Deployment", "ConfigMap"}}
    assert by_name["pipeline-install-config"]["data"]["defaultSecurityContextRunAsUser"] == "10001"
    (server,) = by_name["ml-pipeline"]["spec"]["template"]["spec"]["containers"]
    given = {one["name"]: one.get("value") for one in server["env"]}
    assert given["DEFAULTPIPELINERUNNERSERVICEACCOUNT"] == "modelmill-pipeline"
    assert given["OBJECTSTORECONFIG_HOST"] == "seaweedfs.modelmill"


def test_every_pod_of_kfp_is_what_pod_security_restricted_asks_for() -> None:
    for resource in kfp():
        for template in templates(resource):
            pod = template["spec"]
            for container in [*pod.get("initContainers", []), *pod["containers"]]:
                name = f"{resource['metadata']['name']}/{container['name']}"
                security = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
                assert security.get("runAsNonRoot") is True, name
                assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
                assert security["allowPrivilegeEscalation"] is False, name
                assert security["capabilities"] == {"drop": ["ALL"]}, name


def test_manifests_are_renewed_from_checkouts(
    renew: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small checkouts with the same references to each other as the real ones."""
    sources, made = tmp_path / "sources", tmp_path / "made"
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
    argo = "https://github.com/argoproj/argo-workflows/manifests/%s?ref=v4.0.5&timeout=60s"
    jobset = "https://github.com/kubernetes-sigs/jobset/releases/download/v0.12.0/manifests.yaml"

    def kustomization(folder: str, *resources: str, **files: str) -> None:
        (sources / folder).mkdir(parents=True)
        listed = [*resources, *(f"{name}.yaml" for name in files)]
        (sources / folder / "kustomization.yaml").write_text(yaml.safe_dump({"resources": listed}))
        for name, text in files.items():
            (sources / folder / f"{name}.yaml").write_text(text)

    crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\n"
    kustomization("argo-workflows/manifests/base", own=config % "argo")
    kustomization("pipelines/manifests/kustomize/env/platform-agnostic", argo % "base", own=config % "kfp")
    kustomization("pipelines/manifests/kustomize/base/pipeline/cluster-scoped", own=crd)
    kustomization("pipelines/manifests/kustomize/third-party/argo/installs/namespace/cluster-scoped", argo % "base")
    kustomization("jobset/config/default", own=config % "jobset")
    kustomization("trainer/manifests/overlays/manager", jobset, own=config % "trainer")
    for name in renew.PROJECTS:
        (sources / name / "LICENSE").write_text(f"licence of {name}")
    monkeypatch.setattr(renew, "HERE", made)
    monkeypatch.setenv("PATH", str(BIN), prepend=":")
    renew.main(sources)
    assert {one["metadata"]["name"] for one in kustomize(made / "kfp")} == {"argo", "kfp"}
    assert {one["metadata"]["name"] for one in kustomize(made / "kfp-cluster")} == {"things.example.com", "argo"}
    assert {one["metadata"]["name"] for one in kustomize(made / "trainer")} == {"trainer", "jobset"}
    assert (made / "kfp-cluster" / "things.example.com.yaml").is_file()
    assert (made / "kfp" / "LICENSE.argo-workflows").read_text() == "licence of argo-workflows"


def test_a_file_that_is_too_large_is_not_written(renew: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"manifests\.yaml: \d+ bytes, more than 1000000"):
        renew.write(tmp_path / "made", "a: " + "b" * MEGABYTE, [renew.PROJECTS["jobset"]])
    assert not (tmp_path / "made" / "manifests.yaml").exists()


def test_a_checkout_that_cannot_be_rendered_stops_it(renew: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="exit code"):
        renew._run(BIN / "kubectl", "kustomize", tmp_path)
