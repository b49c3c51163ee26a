"""The scripts that make and use a local cluster, run against commands that write down how they were called."""

import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import yaml

from modelmill.pipelines.cluster.settings import load
from tests.k8s.rendered import BIN, K8S, OVERLAYS, ROOT, made_secrets, named, render
from tests.seaweedfs import SeaweedFS

# What k8s/configure makes.
CONFIGURED = {"modelmill-cluster", "modelmill-recipes", "modelmill-suites"}
SCRIPTS = sorted(path for path in K8S.iterdir() if path.is_file() and path.read_bytes().startswith(b"#!"))
# Writes its name and arguments to $CALLS; nothing is found unless $FOUND says so; the API server has its policies in
# version $POLICIES. The dry run of `configure` and kustomize are real.
RECORDER = """#!/bin/sh
name=$(basename "$0")
case "$name $*" in
  "kubectl create configmap "* | "kubectl kustomize "*) exec "$KUBECTL" "$@" ;;
esac
echo "$name $*" >> "$CALLS"
case "$name $*" in
  *" api-resources "*) [ -z "$POLICIES" ] || echo "mutatingadmissionpolicies $POLICIES false MutatingAdmissionPolicy" ;;
  *" --filename -") cat >> "$CALLS.stdin" ;;
  *" get secret "*) [ -n "$FOUND" ] ;;
  "docker exec --interactive"*) cat > /dev/null ;;
  "kind get nodes"*) echo modelmill-control-plane ;;
  "kind get clusters") [ -n "$FOUND" ] && echo modelmill ;;
  "docker inspect"*|"docker network inspect"*) [ -n "$FOUND" ] && echo modelmill-registry ;;
esac
"""


class Commands:
    """The scripts in a copy of the repository, with recorders in place of kubectl, docker, kind and minikube."""

    def __init__(self, root: Path) -> None:
        self.k8s, self.calls_file, self.applied_file = root / "k8s", root / "calls", root / "calls.stdin"
        shutil.copytree(K8S, self.k8s)
        shutil.copytree(ROOT / "recipes", root / "recipes")
        (root / "modelmill" / "core").mkdir(parents=True)
        shutil.copy(ROOT / "modelmill" / "core" / "image.py", root / "modelmill" / "core")
        commands = root / "commands"
        commands.mkdir()
        for name in ("kubectl", "docker", "kind", "minikube", "curl"):
            (commands / name).write_text(RECORDER)
            (commands / name).chmod(0o755)
        (root / ".venv" / "bin").mkdir(parents=True)
        for name in ("modelmill", "python"):
            shutil.copy(commands / "kubectl", root / ".venv" / "bin" / name)
        self.path = f"{commands}:{os.environ['PATH']}"

    def run(
        self, *command: str, found: bool = False, policies: str = "admissionregistration.k8s.io/v1"
    ) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        """Run a script; returns how it ended and what it called."""
        self.calls_file.write_text("")
        self.applied_file.write_text("")
        env = {"PATH": self.path, "CALLS": str(self.calls_file), "KUBECTL": str(BIN / "kubectl"), "HOME": str(self.k8s)}
        env |= {"FOUND": "yes" if found else "", "POLICIES": policies}
        done = subprocess.run([self.k8s / command[0], *command[1:]], capture_output=True, text=True, env=env)
        return done, self.calls_file.read_text().splitlines()

    def applied(self) -> set[str]:
        """The names of what was applied from standard input, without the Secrets that were made."""
        documents = [one for one in yaml.safe_load_all(self.applied_file.read_text()) if one]
        return {one["metadata"]["name"] for one in documents if one["kind"] != "Secret"}


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_shellcheck_has_nothing_to_say() -> None:
    assert {"kind-up", "kind-e2e", "kind-down", "minikube-up", "install", "render", "e2e"} <= {
        path.name for path in SCRIPTS
    }
    done = subprocess.run([BIN / "shellcheck", *SCRIPTS], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_failure(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert "\nset -euo pipefail\n" in script.read_text()


@pytest.mark.parametrize(
    "script, context, registry",
    [("kind-up", "kind-modelmill", "localhost:5001"), ("minikube-up", "modelmill", "localhost:5000")],
)
def test_up_makes_a_cluster_and_fills_it_in_order(commands: Commands, script: str, context: str, registry: str) -> None:
    done, calls = commands.run(script)
    assert done.returncode == 0, done.stderr
    # Nothing is done to the cluster that a person happens to be connected to.
    assert all(call.startswith(f"kubectl --context {context} ") for call in calls if call.startswith("kubectl"))
    overlay = script.removesuffix("-up")
    order = [
        f"docker push --quiet {registry}/modelmill/trigger:",
        f"apply --server-side --force-conflicts --kustomize {commands.k8s}/vendor/trainer",
        "--namespace kubeflow-system wait --for condition=available",
        "/kfp/cluster",
        "/base/namespace.yaml",
        "create --filename -",
        "--force-conflicts --filename -\n",
        f"--kustomize {commands.k8s}/kfp\n",
        "--namespace modelmill wait --for condition=available",
        "job/buckets",
    ]
    text = "\n".join(calls)
    at = [text.index(step) for step in order]
    assert at == sorted(at)
    assert commands.applied() == {one["metadata"]["name"] for one in render(overlay)} | CONFIGURED


def test_the_policies_are_applied_in_the_version_that_the_cluster_has(commands: Commands) -> None:
    for version in ("v1", "v1beta1"):
        done, _ = commands.run("install", "kind", "kind-modelmill", policies=f"admissionregistration.k8s.io/{version}")
        assert done.returncode == 0 and done.stderr == "", done.stderr
        applied = yaml.safe_load_all(commands.applied_file.read_text())
        kinds = [(one["kind"], one["apiVersion"]) for one in applied if one and "Mutating" in one["kind"]]
        assert len(kinds) == 6
        assert {api for _, api in kinds} == {f"admissionregistration.k8s.io/{version}"}


def test_without_policies_all_else_is_applied_and_what_is_lost_is_said(commands: Commands) -> None:
    done, _ = commands.run("install", "kind", "kind-modelmill", policies="")
    assert done.returncode == 0
    assert "runs get no priority" in done.stderr and len(done.stderr.splitlines()) == 1
    kept = {one["metadata"]["name"] for one in render("kind") if "Mutating" not in one["kind"]}
    assert commands.applied() == kept | CONFIGURED


def test_a_version_that_is_not_known_is_a_mistake(commands: Commands) -> None:
    done, _ = commands.run("render", "kind", "v2")
    assert done.returncode == 2 and "known here in v1 and v1beta1" in done.stderr


def test_production_gets_no_made_up_secrets(commands: Commands) -> None:
    for overlay in ("production", "production-identity"):
        done, calls = commands.run("install", overlay, "far-away")
        assert done.returncode == 0, done.stderr
        assert not [call for call in calls if "create --filename" in call or "job/buckets" in call]
        assert "modelmill-trigger" in commands.applied()


def test_up_again_keeps_the_cluster_and_its_secrets(commands: Commands) -> None:
    done, calls = commands.run("kind-up", found=True)
    assert done.returncode == 0, done.stderr
    assert not [call for call in calls if "create" in call.split() or call.startswith("docker run")]
    assert commands.applied() == {one["metadata"]["name"] for one in render("kind")} | CONFIGURED


def test_a_failure_stops_the_script(commands: Commands) -> None:
    (commands.k8s.parent / "commands" / "docker").write_text("#!/bin/sh\nexit 7\n")
    done, calls = commands.run("kind-up")
    assert done.returncode != 0
    assert not [call for call in calls if call.startswith("kubectl")]


@pytest.mark.parametrize("script, removed", [("kind-down", "kind delete cluster --name modelmill")])
def test_down_removes_what_up_made(commands: Commands, script: str, removed: str) -> None:
    done, calls = commands.run(script)
    assert done.returncode == 0, done.stderr
    assert calls == [removed, "docker rm --force --volumes modelmill-registry"]


def test_e2e_submits_both_recipes_and_asks_for_their_champions(commands: Commands) -> None:
    done, calls = commands.run("kind-e2e", found=True)
    assert done.returncode == 0, done.stderr
    for recipe in ("python-lm", "tabular-mlp"):
        data = f"s3://modelmill/data/{recipe}"
        uploaded = calls.index(f"python k8s/upload_folder.py data/{recipe} {data}")
        submitted = calls.index(
            f"modelmill submit recipes/{recipe}.yaml --set data.path={data} --wait"
            " --cluster k8s/overlays/kind/cluster.yaml"
        )
        (asked,) = [at for at, call in enumerate(calls) if f"name={recipe}&alias=champion" in call]
        assert calls.index(f"modelmill demo-data {recipe}") < uploaded < submitted < asked


def test_e2e_fails_where_a_run_fails(commands: Commands) -> None:
    (commands.k8s.parent / ".venv" / "bin" / "modelmill").write_text("#!/bin/sh\nexit 3\n")
    done, _ = commands.run("minikube-e2e", found=True)
    assert done.returncode == 3


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_trigger_service_reads_its_files_as_they_are_mounted(
    commands: Commands, tmp_path: Path, overlay: str
) -> None:
    outside = load(K8S / "overlays" / overlay / "cluster.yaml")
    done, _ = commands.run("configure", overlay)
    assert done.returncode == 0, done.stderr
    maps = {one["metadata"]["name"]: one["data"] for one in yaml.safe_load_all(done.stdout) if one}
    spec = named(overlay, "Deployment", "modelmill-trigger")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    for volume in spec["volumes"]:
        if "emptyDir" not in volume:
            (mount,) = [one["mountPath"] for one in container["volumeMounts"] if one["name"] == volume["name"]]
            mounted(tmp_path / "pod" / mount.lstrip("/"), volume, maps)
    command = container["args"]
    recipes = tmp_path / "pod" / command[command.index("--recipes") + 1].lstrip("/")
    for recipe in recipes.glob("*.yaml"):
        data = yaml.safe_load(recipe.read_text())["data"]
        assert (recipes / data["suite"]).is_file()
        folder = Path(yaml.safe_load((ROOT / "recipes" / recipe.name).read_text())["data"]["path"]).name
        assert data["path"] == f"s3://{outside.store.split('/')[2]}/data/{folder}"
    assert {path.stem for path in recipes.glob("*.yaml")} == {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    cluster = load(tmp_path / "pod" / command[command.index("--cluster") + 1].lstrip("/"))
    assert Path(cluster.profiles).read_text() == (K8S / "profiles.yaml").read_text()
    assert cluster.kfp.host == "http://ml-pipeline.modelmill:8888"
    # What a person opens is elsewhere.
    assert cluster.kfp.ui == outside.kfp.ui is not None


def mounted(folder: Path, volume: dict, maps: dict[str, dict[str, str]]) -> None:
    """A ConfigMap's keys as kubelet mounts them: files in a folder with a date, behind two links."""
    data = folder / "..2026_01_01"
    data.mkdir(parents=True)
    (folder / "..data").symlink_to(data.name)
    for source in volume.get("projected", {}).get("sources", [volume]):
        config = source["configMap"]
        for item in config.get("items") or [{"key": key, "path": key} for key in maps[config["name"]]]:
            (data / item["path"]).parent.mkdir(parents=True, exist_ok=True)
            (data / item["path"]).write_text(maps[config["name"]][item["key"]])
            top = item["path"].split("/")[0]
            if not (folder / top).exists():
                (folder / top).symlink_to(f"..data/{top}")


def test_local_secrets_are_made_anew_and_agree_with_each_other() -> None:
    first, second = made_secrets(), made_secrets.__wrapped__()
    store, kfp = first["modelmill-object-store"], first["mlpipeline-minio-artifact"]
    assert [store["AWS_ACCESS_KEY_ID"], store["AWS_SECRET_ACCESS_KEY"]] == [kfp["accesskey"], kfp["secretkey"]]
    admin = first["modelmill-mlflow-server"]["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert first["modelmill-mlflow"] == {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": admin}
    names = {"PGHOST", "PGDATABASE", "PGUSER", "username", "MLFLOW_TRACKING_USERNAME"}
    for name, values in first.items():
        assert not [key for key in values if key not in names and values[key] == second[name][key]], name


def test_a_folder_is_uploaded_whole(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    bucket = seaweedfs.create_bucket(f"b-{uuid.uuid4().hex}").removeprefix("s3://")
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "a.txt").write_text("one")
    (tmp_path / "data" / "deep" / "b.txt").write_text("two")
    command = [sys.executable, K8S / "upload_folder.py", tmp_path / "data", f"s3://{bucket}/data/python-lm"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **seaweedfs.env})
    assert done.returncode == 0, done.stderr
    listed = seaweedfs.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert {one["Key"]: one["Size"] for one in listed} == {"data/python-lm/a.txt": 3, "data/python-lm/deep/b.txt": 3}
