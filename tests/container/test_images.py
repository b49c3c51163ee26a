"""The images: what is in them, who they run as, how large they are."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelmill.core.image import VERSION, image_of
from modelmill.pipelines.runners.docker import IMAGE_USER
from modelmill.recipe.step_specs import STEPS
from tests.cli import ROOT

# The module of a task's package that a step runs.
PARTS = {
    "preprocessing": "preprocess",
    "pretraining": "task",
    "fine_tuning": "task",
    "evaluation": "evaluate",
    "registration": "register",
}
_ROW = re.compile(r"^\| `modelmill/([a-z-]+)` \|[^|]*\| ([\d,]+) \| ([\d,]+) \|", re.MULTILINE)


def inspected(image: str) -> dict[str, Any]:
    done = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def limits() -> dict[str, int]:
    """The largest sizes in MB that the table of docs/images.md allows."""
    rows = _ROW.findall((ROOT / "docs" / "images.md").read_text("utf-8"))
    return {name: int(most.replace(",", "")) for name, _, most in rows}


def test_every_image_keeps_within_its_size(images: list[str]) -> None:
    sizes = {image.split("/")[1].split(":")[0]: inspected(image)["Size"] / 1e6 for image in images}
    assert limits().keys() >= sizes.keys()
    assert {name: size for name, size in sizes.items() if size > limits()[name]} == {}


@pytest.mark.parametrize("step", STEPS)
def test_an_image_says_what_it_is_and_never_runs_as_root(images: list[str], step: str) -> None:
    config = inspected(image_of(step))["Config"]
    assert config["User"] == f"{IMAGE_USER}:{IMAGE_USER}"
    assert f"MODELMILL_IMAGE={image_of(step)}" in config["Env"]
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["version"] == image_of(step).split(":")[1]
    assert labels["title"] and labels["revision"] and labels["licenses"] == "Apache-2.0"


@pytest.mark.parametrize("step", ["data_validation", "preprocessing", "registration"])
def test_an_image_that_does_not_train_has_no_torch(images: list[str], step: str) -> None:
    code = "import importlib.util as u, kfp; print(u.find_spec('torch'))"
    command = ["docker", "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", image_of(step)]
    done = subprocess.run([*command, "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_a_step_keeps_to_the_cores_and_the_memory_of_its_container(images: list[str]) -> None:
    code = (
        "from modelmill.runtime.recorded import prepare_process; prepare_process()\n"
        "import torch, pyarrow; from modelmill.core import limits\n"
        "print(limits.cores(), limits.memory(), torch.get_num_threads(), pyarrow.cpu_count())"
    )
    limited = ["docker", "run", "--rm", "--network=none", "--tmpfs=/tmp", "--cpus=1", "--memory=1g"]
    command = [*limited, image_of("fine_tuning"), "python", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", str(2**30), "1", "1"]


@pytest.mark.parametrize("step", STEPS)
def test_an_image_holds_its_own_step_and_no_other(images: list[str], step: str) -> None:
    command = ["docker", "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", image_of(step)]
    code = f"import os, modelmill.components.{step}.step; print(*os.listdir('/app/components'))"
    done = subprocess.run([*command, "python", "-c", code], capture_output=True, text=True, check=True)
    assert set(STEPS) & set(done.stdout.split()) == {step}


@pytest.mark.parametrize(("step", "part"), PARTS.items())
def test_an_image_has_what_its_part_of_every_task_imports(images: list[str], step: str, part: str) -> None:
    command = ["docker", "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", image_of(step)]
    code = (
        "import importlib; from modelmill.recipe import task_packages; "
        f"[importlib.import_module(package + '.{part}') for package in task_packages.packages().values()]"
    )
    done = subprocess.run([*command, "python", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_trigger_service_starts_in_its_image_and_asks_for_its_secret(images: list[str]) -> None:
    command = ["docker", "run", "--rm", "--network=none", "--read-only", "--tmpfs=/tmp", f"modelmill/trigger:{VERSION}"]
    done = subprocess.run(
        [*command, "trigger-server", "--recipes", "/none"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "MODELMILL_TRIGGER_SECRET" in done.stderr and done.stderr.count("\n") == 1


def test_a_bill_of_materials_lists_what_the_lock_pins(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "docker" / "sbom", tmp_path], check=True, capture_output=True)
    for lock in (ROOT / "docker" / "requirements").glob("*.txt"):
        bill = json.loads((tmp_path / f"{lock.stem}.cdx.json").read_text())
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
        pinned = re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE)
        assert len(pinned) > 20
        names = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned}
        assert {one["name"]: one["version"] for one in bill["components"]} == names
        assert all(one["hashes"] for one in bill["components"])


def test_locks_pin_the_versions_that_the_project_is_tested_with() -> None:
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    known = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in constraints.items()}
    for lock in (ROOT / "docker" / "requirements").glob("*.txt"):
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE):
            tested = known.get(re.sub(r"[-_.]+", "-", name).lower(), version)
            assert version in {tested, tested.removesuffix("+cpu")}, f"{lock.name}: {name}; run make lock-images"
