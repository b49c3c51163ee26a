"""The local runner calls what the DAG of KFP holds: the same tasks, in an order that its edges allow."""

import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from modelmill import recipe as recipes
from modelmill.pipelines import dag
from modelmill.pipelines.runners import local
from modelmill.pipelines.runners.local import LocalRun
from modelmill.recipe.step_specs import STAGES
from modelmill.store import open_store
from modelmill.store.manifest import Manifest
from tests.cli import ROOT
from tests.recipes import table_recipe, write_table

ANSWERS: dict[str, Any] = {
    "has_changed": True,
    "is_reason_to_train": True,
    "scan_group": 1,
    "encode_group": 1,
    "fit_ahead": None,
}
OUTPUTS: dict[str, Any] = {"data_validation": {"drifted": False, "drift": 0.0}, "evaluation": {"passed": True}}


class Stage:
    """A warm process that answers at once, as steps would that find everything well; it keeps what it was asked."""

    answers: dict[str, Any] = {}

    def __init__(self, *_: Any) -> None:
        self.called: list[str] = []

    def import_ahead(self, modules: list[str]) -> None:
        """Nothing is imported."""

    def call(self, function: str, arguments: dict[str, Any], answer: Path, in_place: bool = False) -> int:
        module, _, name = function.partition(":")
        step = module.split(".")[2]
        for port in ("dataset", "validation", "corpus", "model", "evaluation", "registration"):
            if port in arguments and not Path(arguments[port]).exists():
                Path(arguments[port]).write_bytes(Manifest(kind=port, info={"step": step}).to_json())
        value = {**ANSWERS, **self.answers}[name] if name in ANSWERS else {**OUTPUTS, **self.answers}.get(step, {})
        answer.write_text(json.dumps(value))
        return 0

    def wait(self, call: int, poll: Callable[[], None]) -> int:
        return 1 if "fails" in self.answers else 0

    def close(self) -> None:
        """Nothing to end."""


def local_tasks(recipe: recipes.Recipe, folder: Path, if_changed: bool) -> list[str]:
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    store = open_store(f"file://{folder / 'store'}")
    run = LocalRun(recipe, store, "run", [], scratch, io.BytesIO(), lambda: None)
    run.run(if_changed)
    return run.tasks


def edges(node: dict[str, Any], components: dict[str, Any]) -> list[tuple[str, str]]:
    """Pairs of tasks of the compiled DAG of which the first comes before the second, those of inner DAGs included."""
    tasks = node["dag"]["tasks"]
    leaves = {name: leaves_of(task, components) for name, task in tasks.items()}
    pairs = [
        (before, after)
        for name, task in tasks.items()
        for dependency in task.get("dependentTasks", [])
        for before in leaves[dependency]
        for after in leaves[name]
    ]
    for task in tasks.values():
        component = components[task["componentRef"]["name"]]
        pairs += edges(component, components) if "dag" in component else []
    return pairs


def leaves_of(task: dict[str, Any], components: dict[str, Any]) -> list[str]:
    name = task["componentRef"]["name"]
    if "dag" not in components[name]:
        called = name.removeprefix("comp-").replace("-", "_")
        # One task for both stages where one of them is none; here they are two calls.
        return list(STAGES) if called.startswith("only_") else [called]
    return [leaf for inner in components[name]["dag"]["tasks"].values() for leaf in leaves_of(inner, components)]


@pytest.mark.parametrize("if_changed", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_tasks_are_those_of_the_dag_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: int, if_changed: bool
) -> None:
    monkeypatch.setattr(local, "Crew", Stage)
    recipe = recipes.load(table_recipe(tmp_path, write_table(tmp_path / "data"), data__groups=groups))
    tasks = local_tasks(recipe, tmp_path, if_changed)
    compiler.Compiler().compile(dag.build(recipe, "file:///store", if_changed=if_changed), str(tmp_path / "ir.yaml"))
    spec = next(yaml.safe_load_all((tmp_path / "ir.yaml").read_text()))
    pairs = edges(spec["root"], spec["components"])
    named = {name for pair in pairs for name in pair} - {"reporting"}
    assert set(tasks) == named and len(tasks) == len(named)
    for before, after in pairs:
        if after != "reporting":
            assert tasks.index(before) < tasks.index(after), f"{before} comes before {after}"


@pytest.mark.parametrize("forks", [True, False])
def test_a_warm_process_calls_and_says_how_calls_ended(tmp_path: Path, forks: bool) -> None:
    own, theirs = socket.socketpair()
    program = f"from modelmill.pipelines.runners import warm; warm.FORKS = {forks}; warm.main('{theirs.fileno()}')"
    log = (tmp_path / "log.txt").open("wb")
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": log, "stderr": log, "pass_fds": [theirs.fileno()]}
    with log, subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, **options) as process:
        theirs.close()
        calls = [
            ("os:getpid", {}, False),
            ("os:abort", {}, False),
            ("builtins:int", {}, True),
            ("os:nothing", {}, False),
        ]
        own.sendall(b'{"import": ["json", "no.such.module"]}\n')
        for number, (call, arguments, in_place) in enumerate(calls):
            answer = str(tmp_path / f"{number}.json")
            request = {"id": number, "call": call, "arguments": arguments, "answer": answer, "in_place": in_place}
            own.sendall(json.dumps(request).encode() + b"\n")
        codes: dict[int, int] = {}
        while len(codes) < len(calls):
            codes |= {one["id"]: one["code"] for one in map(json.loads, own.recv(1 << 16).splitlines())}
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=20)
    assert codes == {0: 0, 1: -signal.SIGABRT, 2: 0, 3: 1}
    assert json.loads((tmp_path / "0.json").read_text()) != process.pid, "a process of its own"
    assert json.loads((tmp_path / "2.json").read_text()) == 0
    said = (tmp_path / "log.txt").read_text()
    assert "not imported ahead: no.such.module" in said and "AttributeError" in said


@pytest.mark.parametrize(
    ("answers", "last"),
    [
        ({"has_changed": False}, "look"),
        ({"is_reason_to_train": False}, "reason_to_train"),
        ({"evaluation": {"passed": False}}, "evaluation"),
        ({}, "registration"),
    ],
)
def test_conditions_end_a_run_where_the_dag_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any], last: str
) -> None:
    monkeypatch.setattr(local, "Crew", Stage)
    monkeypatch.setattr(Stage, "answers", answers)
    recipe = recipes.load(table_recipe(tmp_path, write_table(tmp_path / "data")))
    assert local_tasks(recipe, tmp_path, if_changed=True)[-1] == last


def test_a_step_that_fails_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "Crew", Stage)
    monkeypatch.setattr(Stage, "answers", {"fails": True})
    recipe = recipes.load(table_recipe(tmp_path, write_table(tmp_path / "data")))
    assert local_tasks(recipe, tmp_path, if_changed=False) == ["data_validation"]
