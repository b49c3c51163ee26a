"""The overlays are what Kubernetes takes, and agree with the cluster files, the images and each other."""

import copy
import functools
import json
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from modelmill.core import lifetime
from modelmill.core.image import VERSION
from modelmill.pipelines.cluster.placement import INTERACTIVE, SCHEDULED
from modelmill.pipelines.cluster.settings import Kfp, Secrets, load
from tests.k8s.rendered import K8S, OVERLAYS, containers, made_secrets, named, of_kind, pods, render

# Kinds that Kubernetes itself does not define.
CUSTOM = {"TrainingRuntime", "ExternalSecret"}
KUBERNETES = "1.37"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_would_take_every_resource(overlay: str) -> None:
    for resource in render(overlay):
        if resource["kind"] not in CUSTOM:
            validated(json.dumps(resource))


@functools.cache
def validated(resource: str) -> None:
    """Once for what several overlays have alike: it reads the whole schema each time."""
    kubernetes_validate.validate(json.loads(resource), KUBERNETES, strict=True)


def test_a_misspelt_key_would_be_found() -> None:
    wrong = copy.deepcopy(named("kind", "Deployment", "mlflow"))
    wrong["spec"]["template"]["spec"]["securityContex"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="securityContex"):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_trainer_would_take_the_runtime(overlay: str) -> None:
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainingRuntime

    runtime = named(overlay, "TrainingRuntime", "modelmill-torch")
    read = TrainerV1alpha1TrainingRuntime.from_dict(runtime)
    assert read is not None
    # What the model does not know, it drops: nothing of ours is.
    assert lost(runtime, read.to_dict()) == []
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == lifetime.SAVING_SECONDS
    (container,) = pod["containers"]
    # The Trainer looks for these names.
    assert job["name"] == container["name"] == "node"
    assert job["template"]["metadata"]["labels"]["trainer.kubeflow.org/trainjob-ancestor-step"] == "trainer"


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """The keys of a document that a model did not keep."""
    if isinstance(given, dict):
        missing = [f"{path}.{key}" for key in given if not isinstance(kept, dict) or key not in kept]
        return missing or [one for key in given for one in lost(given[key], kept[key], f"{path}.{key}")]
    if isinstance(given, list):
        return [one for index, inner in enumerate(given) for one in lost(inner, kept[index], f"{path}[{index}]")]
    return []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_our_images_are_this_version(overlay: str) -> None:
    ours = [one["image"] for _, one, _ in containers(overlay) if "/modelmill/" in one["image"]]
    # The trigger service twice: it waits for the store first.
    assert len(ours) == 3
    for image in ours:
        assert image.endswith(f":{VERSION}") or "@sha256:" in image


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_secret_that_is_asked_for_comes_from_somewhere(overlay: str) -> None:
    made = made_secrets()
    if overlay == "production":
        assert {one["spec"]["target"]["name"] for one in of_kind(overlay, "ExternalSecret")} == set(made)
    for name, container, _ in containers(overlay):
        for source in container.get("envFrom", []):
            secret = source.get("secretRef")
            assert secret is None or secret.get("optional") or secret["name"] in made, name
        for variable in container.get("env", []):
            wanted = variable.get("valueFrom", {}).get("secretKeyRef")
            assert wanted is None or wanted["key"] in made[wanted["name"]], f"{name}: {variable['name']}"
    assert {Secrets().object_store, Secrets().mlflow} <= set(made)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kfp_opens_the_store_with_a_secret_that_runs_may_read(overlay: str) -> None:
    config = named(overlay, "ConfigMap", "kfp-launcher")["data"]
    credentials = yaml.safe_load(config["providers"])["s3"]["default"]["credentials"]
    secret = credentials["secretRef"]
    assert credentials["fromEnv"] is False
    assert {secret["accessKeyKey"], secret["secretKeyKey"]} <= set(made_secrets()[secret["secretName"]])
    rules = named(overlay, "Role", "modelmill-pipeline")["rules"]
    (readable,) = [rule["resourceNames"] for rule in rules if rule["resources"] == ["secrets"]]
    assert secret["secretName"] in readable
    assert ["kfp-launcher"] in [rule.get("resourceNames") for rule in rules]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_accounts_are_those_that_runs_and_pods_name(overlay: str) -> None:
    accounts = {one["metadata"]["name"] for one in of_kind(overlay, "ServiceAccount")}
    assert Kfp(host="http://kfp").service_account in accounts
    assert {template["spec"]["serviceAccountName"] for _, template in pods(overlay)} <= accounts


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_config_maps_that_pods_read_are_there_or_made_by_configure(overlay: str) -> None:
    known = {one["metadata"]["name"]: set(one["data"]) for one in of_kind(overlay, "ConfigMap")}
    by_configure = {"modelmill-cluster", "modelmill-recipes", "modelmill-suites"}
    for name, container, pod in containers(overlay):
        for variable in container.get("env", []):
            wanted = variable.get("valueFrom", {}).get("configMapKeyRef")
            assert wanted is None or wanted["key"] in known[wanted["name"]], f"{name}: {variable['name']}"
        for volume in pod["volumes"]:
            sources = [volume, *volume.get("projected", {}).get("sources", [])]
            assert {one["configMap"]["name"] for one in sources if "configMap" in one} <= set(known) | by_configure, (
                name
            )


def test_the_priority_policy_sets_what_its_classes_say() -> None:
    classes = {one["metadata"]["name"]: one for one in of_kind("kind", "PriorityClass")}
    policy = named("kind", "MutatingAdmissionPolicy", "modelmill-priority")["spec"]
    (expression,) = policy["matchConstraints"]["objectSelector"]["matchExpressions"]
    assert expression["key"] == "modelmill.dev/priority"
    assert {*expression["values"], "modelmill-drivers"} == set(classes)
    text = policy["mutations"][0]["applyConfiguration"]["expression"]
    first, second = "modelmill-interactive", "modelmill-scheduled"
    assert policy["variables"][0]["expression"].endswith(f'== "{first}"')
    assert f"priority: variables.interactive ? {classes[first]['value']} : {classes[second]['value']}" in text
    preemption = f'"{classes[first]["preemptionPolicy"]}" : "{classes[second]["preemptionPolicy"]}"'
    assert f"preemptionPolicy: variables.interactive ? {preemption}" in text
    assert 'priorityClassName: object.metadata.labels["modelmill.dev/priority"]' in text
    assert named("kind", "MutatingAdmissionPolicyBinding", "modelmill-priority")["spec"]["policyName"]


def test_every_priority_that_a_step_can_get_is_a_class() -> None:
    used = {INTERACTIVE, SCHEDULED, *re.findall(r"priority: (\S+)", (K8S / "profiles.yaml").read_text())}
    classes = {one["metadata"]["name"] for one in of_kind("kind", "PriorityClass")}
    assert used == classes - {"modelmill-drivers"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_cluster_file_names_what_is_deployed(overlay: str) -> None:
    cluster = load(K8S / "overlays" / overlay / "cluster.yaml")
    host = re.sub(r"^https?://", "", cluster.mlflow)
    hosts = named(overlay, "ConfigMap", "modelmill-mlflow")["data"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert host in hosts.split(",")
    registries = {one["image"].rsplit("/", 1)[0] for _, one, _ in containers(overlay) if "/modelmill/" in one["image"]}
    assert registries == {cluster.images.registry}
    if overlay != "production":
        # KFP's SeaweedFS is where KFP is: in our namespace.
        assert cluster.endpoint in {"http://seaweedfs.modelmill:9000", "http://seaweedfs.modelmill:8333"}
        jobs = named(overlay, "Job", "buckets")["spec"]["template"]["spec"]["containers"]
        assert f"store:{cluster.store.split('/')[2]}" in [job["args"][1] for job in jobs]


def test_a_backup_is_dumped_and_uploaded_to_a_bucket_that_is_there() -> None:
    pod = named("kind", "CronJob", "mlflow-backup")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (dump,), (upload,) = pod["initContainers"], pod["containers"]
    written = next(word for word in dump["command"] if word.startswith("--file=")).removeprefix("--file=")
    assert upload["args"][:2] == ["copyto", written]
    bucket = named("kind", "ConfigMap", "modelmill-backup")["data"]["BUCKET"]
    jobs = named("kind", "Job", "buckets")["spec"]["template"]["spec"]["containers"]
    assert f"store:{bucket}" in [job["args"][1] for job in jobs]


def test_a_pod_that_was_killed_for_its_memory_is_not_tried_again() -> None:
    config = yaml.safe_load((K8S / "kfp" / "workflow-controller.yaml").read_text())
    defaults = yaml.safe_load(config["data"]["workflowDefaults"])["spec"]["templateDefaults"]
    # Argo evaluates it with the message of the last attempt, "main: OOMKilled (exit code 1)".
    assert "!(lastRetry.message contains 'OOMKilled')" in defaults["retryStrategy"]["expression"]


def test_the_object_store_can_tell_the_trigger_service_of_new_data() -> None:
    store = yaml.safe_load((K8S / "kfp" / "seaweedfs.yaml").read_text())
    (container,) = store["spec"]["template"]["spec"]["containers"]
    given = {one["name"].removeprefix("WEED_NOTIFICATION_WEBHOOK_"): one for one in container["env"]}
    service = named("kind", "Service", "modelmill-trigger")
    (port,) = service["spec"]["ports"]
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}"
    assert given["ENDPOINT"]["value"] == f"http://{host}:{port['port']}/events"
    token = given["BEARER_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert token["key"] in made_secrets()[token["name"]]
    (server,) = named("kind", "Deployment", "modelmill-trigger")["spec"]["template"]["spec"]["containers"]
    assert token in [one.get("valueFrom", {}).get("secretKeyRef") for one in server["env"]]
    # Where k8s/e2e puts the data, and k8s/configure tells the service that they are.
    assert given["PATH_PREFIXES"]["value"] == "/buckets/modelmill/data"


def test_kfp_runs_steps_as_the_user_of_the_images() -> None:
    settings = yaml.safe_load((K8S / "kfp" / "install-config.yaml").read_text())["data"]
    users = {template["spec"]["securityContext"]["runAsUser"] for _, template in pods("kind")}
    assert users == {int(settings["defaultSecurityContextRunAsUser"])}
    assert settings["defaultSecurityContextRunAsNonRoot"] == "true"
