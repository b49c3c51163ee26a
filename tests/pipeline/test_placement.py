"""What is compiled for a cluster: read back, for every step, from the file that a cluster would get."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill import recipe as recipes
from modelmill.core.image import VERSION
from modelmill.pipelines.cluster import placement, profiles, settings
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime.node import VARIABLE, Node
from tests import cli
from tests.clusters import DIGEST, PROFILES, cluster_file, gpu_recipe
from tests.recipes import table_recipe, write_table

OVERLAYS = sorted((cli.ROOT / "k8s" / "overlays").glob("*/cluster.yaml"))


class Compiled:
    """A compiled file, by step: its container, what Kubernetes is asked for, and its task."""

    def __init__(self, file: Path) -> None:
        self.text = file.read_text()
        spec, platform = yaml.safe_load_all(self.text)
        self.root = spec["root"]
        labels = {n.removeprefix("comp-"): c["executorLabel"] for n, c in spec["components"].items() if "dag" not in c}
        containers = spec["deploymentSpec"]["executors"]
        pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.containers = {name: containers[label]["container"] for name, label in labels.items()}
        self.pods: dict[str, dict[str, Any]] = {name: pods[label] for name, label in labels.items()}
        dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
        every = {name: task for dag in dags for name, task in dag["tasks"].items()}
        self.tasks = {name: every[name] for name in labels}

    def environment(self, step: str) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.containers[step]["env"]}

    def required(self, step: str) -> list[list[dict[str, Any]]]:
        """The terms of which a node must meet one, each a list of conditions that all hold."""
        terms = self.pods[step].get("nodeAffinity", [])
        return [term["matchExpressions"] for term in terms if "weight" not in term]


def compiled_here(recipe: Path, cluster: Path, file: Path) -> Compiled:
    placement.compile_for(recipes.load(recipe), settings.load(cluster), str(file))
    return Compiled(file)


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The GPU recipe, compiled where secrets are in the environment."""
    folder = tmp_path_factory.mktemp("placed")
    secrets = {
        "AWS_ACCESS_KEY_ID": "hush-hush-1",
        "AWS_SECRET_ACCESS_KEY": "hush-hush-2",
        "MLFLOW_TRACKING_PASSWORD": "hush-hush-3",
        "MODELMILL_KFP_TOKEN": "hush-hush-4",
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in secrets.items():
            monkeypatch.setenv(name, value)
        return compiled_here(gpu_recipe(folder), cluster_file(folder), folder / "pipeline.yaml")


ON_CPU = ("data-validation", "shard-scan", "fitting", "shard-encoding", "preprocessing", "evaluation", "registration")
GPU_NODE = {"nvidia.com/gpu.present": "true", "kubernetes.io/arch": "amd64"}
CPU_NODE = {"kubernetes.io/arch": "amd64"}


def takes(conditions: list[dict[str, Any]], node: dict[str, str]) -> bool:
    """Whether a node with these labels meets all conditions, as the Kubernetes scheduler reads them."""
    meets = {
        "In": lambda c: node.get(c["key"]) in c["values"],
        "NotIn": lambda c: node.get(c["key"]) not in c["values"],
        "Exists": lambda c: c["key"] in node,
        "DoesNotExist": lambda c: c["key"] not in node,
    }
    return all(meets[condition["operator"]](condition) for condition in conditions)


@pytest.mark.parametrize("step", [*ON_CPU, "reporting"])
def test_a_step_without_an_accelerator_never_lands_on_a_gpu_node(placed: Compiled, step: str) -> None:
    terms = placed.required(step)
    assert terms
    assert not any(takes(term, GPU_NODE) for term in terms)
    assert any(takes(term, CPU_NODE) for term in terms)
    assert "accelerator" not in placed.containers[step]["resources"]


def test_conditions_of_a_profile_hold_together_with_the_rule_for_cpu_steps(placed: Compiled) -> None:
    (conditions,) = placed.required("preprocessing")
    assert {condition["key"] for condition in conditions} == {"kubernetes.io/arch", "nvidia.com/gpu.present"}


def test_a_gpu_step_gets_its_nodes_its_accelerators_and_its_memory_for_shm(placed: Compiled) -> None:
    pod, asked = placed.pods["pretraining"], placed.containers["pretraining"]["resources"]
    assert asked["accelerator"].items() >= {"resourceCount": "2", "resourceType": "nvidia.com/gpu"}.items()
    assert (asked["resourceCpuLimit"], asked["resourceMemoryLimit"]) == ("12", "96Gi")
    assert placed.required("pretraining") == [[{"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A100"]}]]
    wishes = [term for term in pod["nodeAffinity"] if "weight" in term]
    assert [(wish["weight"], wish["matchExpressions"][0]["key"]) for wish in wishes] == [(50, "example.com/fabric")]
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    shm = next(mount for mount in pod["emptyDirMounts"] if mount["mountPath"] == "/dev/shm")
    assert (shm["medium"], shm["sizeLimit"]) == ("Memory", "16Gi")
    assert int(pod["activeDeadlineSeconds"]) == 3 * 24 * 3600
    assert pod["podMetadata"]["labels"]["modelmill.dev/priority"] == "modelmill-scheduled"


def test_a_spot_step_is_tried_often_and_selects_its_nodes(placed: Compiled) -> None:
    pod = placed.pods["fine-tuning"]
    assert pod["nodeSelector"]["labels"] == {"modelmill.dev/capacity": "spot"}
    assert pod["tolerations"] == [{"key": "modelmill.dev/capacity", "operator": "Equal", "value": "spot"}]
    assert placed.tasks["fine-tuning"]["retryPolicy"]["maxRetryCount"] == 20
    assert placed.tasks["fine-tuning"]["retryPolicy"]["backoffDuration"] == "60s"


def test_every_task_is_tried_again_even_when_it_fails_after_days(placed: Compiled) -> None:
    for name, task in placed.tasks.items():
        policy = task["retryPolicy"]
        assert policy["maxRetryCount"] >= 3, name
        assert int(policy["backoffMaxDuration"].removesuffix("s")) > 90 * 24 * 3600, name
        assert policy["backoffFactor"] == 1.0, name


def test_a_profile_says_how_long_a_step_may_save_and_that_it_is_not_tried_again(tmp_path: Path) -> None:
    changed = {"gpu-a100": PROFILES["profiles"]["gpu-a100"] | {"grace": "10m", "retries": 0}}
    document = PROFILES | {"profiles": PROFILES["profiles"] | changed}
    one = compiled_here(gpu_recipe(tmp_path), cluster_file(tmp_path, document), tmp_path / "pipeline.yaml")
    assert one.pods["pretraining"]["podMetadata"]["labels"]["modelmill.dev/grace"] == "600"
    assert one.environment("pretraining")["MODELMILL_GRACE_SECONDS"] == "600"
    assert "modelmill.dev/grace" not in one.pods["fine-tuning"]["podMetadata"]["labels"]
    # No count is 0. Without a policy at all the step would have the attempts that Argo's defaults give drivers.
    policy = one.tasks["pretraining"]["retryPolicy"]
    assert policy.get("maxRetryCount", 0) == 0 and policy["backoffDuration"] == "30s"
    nodes = gpu_recipe(tmp_path / "nodes", pretraining__nodes=2, pretraining__devices=1)
    waiting = compiled_here(nodes, cluster_file(tmp_path, document), tmp_path / "nodes.yaml")
    assert waiting.pods["pretraining"]["podMetadata"]["labels"]["modelmill.dev/grace"] == "600"
    node = Node.model_validate_json(waiting.environment("pretraining")[VARIABLE])
    assert node.labels["modelmill.dev/grace"] == "600"


def test_a_recipe_s_own_memory_is_instead_of_the_profile_s(placed: Compiled) -> None:
    for name in ("preprocessing", "fitting", "shard-encoding"):
        asked = placed.containers[name]["resources"]
        assert (asked["resourceCpuLimit"], asked["resourceMemoryLimit"]) == ("8", "48Gi"), name
    asked = placed.containers["evaluation"]["resources"]
    assert (asked["resourceCpuLimit"], asked["resourceMemoryLimit"]) == ("1", "2Gi")


def test_every_pod_is_a_user_with_a_place_to_write_and_says_its_step(placed: Compiled) -> None:
    assert set(placed.pods) == {*ON_CPU, "pretraining", "fine-tuning", "reporting"}
    for name, pod in placed.pods.items():
        assert pod["securityContext"] == {"runAsUser": "10001", "runAsNonRoot": True}, name
        assert "/tmp" in [mount["mountPath"] for mount in pod["emptyDirMounts"]], name
    ahead = {"shard-scan": "data-validation", "fitting": "preprocessing", "shard-encoding": "preprocessing"}
    labels = {name: pod["podMetadata"]["labels"]["modelmill.dev/step"] for name, pod in placed.pods.items()}
    assert labels == {name: ahead.get(name, name) for name in placed.pods}


def test_images_come_from_the_cluster_s_registry(placed: Compiled) -> None:
    images = {name: container["image"] for name, container in placed.containers.items()}
    of = "registry.example.com/ml/{}:" + VERSION
    assert images["pretraining"] == of.format("pretraining-gpu")
    assert images["fine-tuning"] == of.format("fine-tuning-gpu")
    assert images["evaluation"] == of.format("evaluation")
    assert images["shard-scan"] == images["data-validation"] == of.format("data-validation")
    assert images["reporting"] == images["registration"] == of.format("registration")
    assert {placed.environment(name)["MODELMILL_IMAGE"] for name in images} == set(images.values())


def test_steps_find_the_cluster_s_store_and_mlflow_and_take_credentials_from_secrets(placed: Compiled) -> None:
    parameters = placed.root["inputDefinitions"]["parameters"]
    assert parameters["store"]["defaultValue"] == "s3://models/store"
    for name, pod in placed.pods.items():
        known = placed.environment(name)
        assert known["AWS_ENDPOINT_URL"] == "http://seaweedfs:9000", name
        assert known["MLFLOW_TRACKING_URI"] == "http://mlflow:5000", name
        assert known["AWS_DEFAULT_REGION"] == "us-east-1", name
        taken = {
            (secret["secretName"], key["secretKey"], key["envVar"], secret["optional"])
            for secret in pod["secretAsEnv"]
            for key in secret["keyToEnv"]
        }
        keys = {"modelmill-object-store": placement.OBJECT_STORE_KEYS, "modelmill-mlflow": placement.MLFLOW_KEYS}
        assert taken == {(secret, key, key, True) for secret, of in keys.items() for key in of}, name


def test_only_the_report_takes_what_notifications_need(tmp_path: Path) -> None:
    cluster = cluster_file(tmp_path, secrets={"notifications": "modelmill-notifications"})
    made = compiled_here(gpu_recipe(tmp_path), cluster, tmp_path / "pipeline.yaml")
    secrets = {name: {one["secretName"]: one for one in pod["secretAsEnv"]} for name, pod in made.pods.items()}
    assert [name for name, known in secrets.items() if "modelmill-notifications" in known] == ["reporting"]
    taken = secrets["reporting"]["modelmill-notifications"]["keyToEnv"]
    assert {"MODELMILL_NOTIFY_SLACK", "MODELMILL_SMTP_PASSWORD"} <= {key["envVar"] for key in taken}


def test_models_of_buckets_and_hubs_are_read_by_the_steps_that_have_the_hubs_token(tmp_path: Path) -> None:
    cluster = cluster_file(tmp_path, secrets={"hub": "modelmill-hub"})
    sources = {"pretraining__init": "s3://models/tiny", "preprocessing__tokenizer": {"from": "hf://acme/tiny@main"}}
    made = compiled_here(gpu_recipe(tmp_path, **sources), cluster, tmp_path / "pipeline.yaml")
    secrets = {name: {one["secretName"]: one for one in pod["secretAsEnv"]} for name, pod in made.pods.items()}
    given = {name for name, known in secrets.items() if "modelmill-hub" in known}
    assert given >= {"preprocessing", "pretraining"}
    assert not given & {"data-validation", "fine-tuning", "evaluation", "registration", "reporting"}
    taken = secrets["pretraining"]["modelmill-hub"]["keyToEnv"]
    assert {key["envVar"] for key in taken} == {"HF_TOKEN", "HF_ENDPOINT"}


def test_no_secret_value_is_in_the_file(placed: Compiled) -> None:
    assert "hush-hush" not in placed.text


def test_the_same_recipe_compiles_to_the_same_bytes(placed: Compiled, tmp_path: Path) -> None:
    recipe, cluster = gpu_recipe(tmp_path), cluster_file(tmp_path)
    assert compiled_here(recipe, cluster, tmp_path / "again.yaml").text == placed.text


def test_pinned_images_have_their_digests(tmp_path: Path) -> None:
    names = [*(step.replace("_", "-") for step in STEPS), "pretraining-gpu", "fine-tuning-gpu"]
    images = {"registry": "r", "gpu": True, "pinned": True, "digests": dict.fromkeys(names, DIGEST)}
    made = compiled_here(gpu_recipe(tmp_path), cluster_file(tmp_path, images=images), tmp_path / "pipeline.yaml")
    assert {container["image"].partition("@")[2] for container in made.containers.values()} == {DIGEST}


def test_gpus_of_a_recipe_without_profiles_get_a_gpu_image_and_past_the_taint(tmp_path: Path) -> None:
    recipe = gpu_recipe(tmp_path, resources={"evaluation": {"gpu": 4, "memory": "8Gi"}})
    made = compiled_here(recipe, cluster_file(tmp_path), tmp_path / "pipeline.yaml")
    assert "/evaluation-gpu:" in made.containers["evaluation"]["image"]
    assert made.containers["evaluation"]["resources"]["accelerator"]["resourceCount"] == "4"
    assert [one["key"] for one in made.pods["evaluation"]["tolerations"]] == ["nvidia.com/gpu"]
    assert not made.required("evaluation")


@pytest.mark.parametrize("file", OVERLAYS, ids=lambda file: file.parent.name)
def test_every_cluster_file_and_its_profiles_place_both_kinds_of_recipe(file: Path, tmp_path: Path) -> None:
    cluster = settings.load(file)
    known = profiles.load(cluster.profiles)
    assert {"cpu-small", "cpu-large", "gpu-a100", "gpu-spot"} <= set(known.profiles)
    digests = dict.fromkeys(settings.IMAGES, DIGEST)
    cluster = cluster.model_copy(update={"images": cluster.images.model_copy(update={"digests": digests})})
    recipe = recipes.load(table_recipe(tmp_path, write_table(tmp_path / "data"), data__path="s3://raw/table"))
    placement.compile_for(recipe, cluster, str(tmp_path / "pipeline.yaml"))
    for name, pod in Compiled(tmp_path / "pipeline.yaml").pods.items():
        assert pod["nodeAffinity"], name
