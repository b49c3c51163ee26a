"""The contract of a task: what of a package from outside is refused, and with which words; and what new-task writes."""

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from modelmill.core.errors import UserError
from modelmill.pipelines import new_task
from modelmill.recipe import task_check, task_packages
from modelmill.tasks import shipped
from tests import cli

OURS = sorted(task for task in task_packages.packages() if task_packages.is_ours(task))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that keeps the contract."""
    new_task.write("shapes", tmp_path)
    return tmp_path / "shapes" / "shapes"


@pytest.mark.parametrize("task", OURS)
def test_each_task_that_ships_keeps_the_contract_and_is_checked_by_mypy(task: str) -> None:
    task_check.check_folder(task, task_packages.folder(task))
    source = Path(shipped.__file__).read_text("utf-8")
    assert f"def _{task}() -> Parts:" in source and f"from modelmill.tasks.{task}.serve import" in source


def test_a_package_that_new_task_writes_keeps_it(package: Path) -> None:
    task_check.check_folder("shapes", package)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("evaluate.py", "def evaluate", "def judge", r"evaluate\.py: no function evaluate\(step, task\)"),
        ("preprocess.py", "def preprocess", "def prepare", r"preprocess\.py: no function preprocess\(step, shards\)"),
        (
            "preprocess.py",
            "(step: Step, shards:",
            "(shards:",
            r"preprocess\.py line \d+: preprocess must take \(step, sha",
        ),
        ("evaluate.py", "task: Any)", "task: Any, *, more: int)", r"line \d+: evaluate must take \(step, task\)"),
        ("evaluate.py", "task: Any)", "task: Any, more: int)", r"line \d+: evaluate must take \(step, task\)"),
        ("task.py", "make_task =", "task =", r"task\.py: no function make_task\(corpus, files, settings\)"),
        ("recipe.py", "class Recipe", "class Recipes", r"recipe\.py: no Recipe"),
        ("register.py", "DESCRIBING =", "DESCRIBED =", r"register\.py: no DESCRIBING"),
        ("register.py", "folder: Path, columns", "columns", r"interface must take \(folder, columns\)"),
        ("cost.py", "UNIT:", "UNITS:", r"cost\.py: no UNIT"),
        ("demo.py", "DEMOS =", "DATA =", r"demo\.py: no DEMOS"),
        ("serve.py", "set_model(Shapes", "print(Shapes", r"serve\.py: no call of mlflow\.models\.set_model"),
        ("task.py", "class Shapes", "clas Shapes", r"task\.py line \d+: cannot be read"),
    ],
)
def test_what_a_package_lacks_is_said_in_one_line(package: Path, file: str, old: str, new: str, said: str) -> None:
    source = (package / file).read_text()
    assert old in source
    (package / file).write_text(source.replace(old, new))
    with pytest.raises(UserError, match=said) as refused:
        task_check.check_folder("shapes", package)
    assert re.fullmatch(r"task shapes: .*; see docs/add-a-task\.md", str(refused.value))


@pytest.mark.parametrize("file", ["recipe.py", "preprocess.py", "task.py", "evaluate.py", "register.py", "serve.py"])
def test_a_missing_module_is_named(package: Path, file: str) -> None:
    (package / file).unlink()
    with pytest.raises(UserError, match=rf"task shapes: {file} is missing from {package}"):
        task_check.check_folder("shapes", package)


def test_cost_and_demo_may_be_missing_and_functions_may_take_more_with_a_default(package: Path) -> None:
    for file in ("cost.py", "demo.py"):
        (package / file).unlink()
    source = (package / "evaluate.py").read_text()
    (package / "evaluate.py").write_text(source.replace("task: Any)", "task: Any, more: int = 0)"))
    task_check.check_folder("shapes", package)


def test_an_entry_point_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_packages, "packages", lambda: {"gone": "no_such.package"})
    with pytest.raises(UserError, match=r"task gone: its entry point names the package no_such\.package"):
        task_check.check.__wrapped__("gone")


def test_what_a_part_may_leave_out_has_a_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(task_packages, "packages", lambda: {"bare": "bare"})
    for part in ("preprocess", "register"):
        monkeypatch.setitem(sys.modules, f"bare.{part}", types.ModuleType(f"bare.{part}"))
    made = task_packages.preprocessing("bare")
    assert made.fit(None, []) is None  # type: ignore[arg-type, func-returns-value]
    assert made.encode(None, [], None, range(3)) == ([], 0)  # type: ignore[arg-type]
    assert task_packages.registration("bare").artifacts(None) == {}  # type: ignore[arg-type]
    assert task_packages.demos("bare").DEMOS == {}
    assert task_packages.costing("bare").cost(None, "pretraining", None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Shapes", "my-task", "9", "class", "a__b", "", "json", "tabular_classification"])
def test_a_name_that_is_taken_or_none_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: "):
        new_task.write(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_that_are_there_are_kept(tmp_path: Path) -> None:
    new_task.write("shapes", tmp_path)
    (tmp_path / "shapes" / "README.md").write_text("mine")
    with pytest.raises(UserError, match="is there already; nothing was written"):
        new_task.write("shapes", tmp_path)
    assert (tmp_path / "shapes" / "README.md").read_text() == "mine"


def test_in_a_checkout_files_go_beside_those_of_the_other_tasks(tmp_path: Path) -> None:
    (tmp_path / "modelmill" / "tasks").mkdir(parents=True)
    for file in ("modelmill/__init__.py", "modelmill/tasks/__init__.py", "modelmill/tasks/contract.py"):
        (tmp_path / file).write_text('"""A checkout."""\n')
    files = {file.relative_to(tmp_path).as_posix() for file in new_task.write("my_shapes", tmp_path)}
    places = {"recipes/my_shapes.yaml", "recipes/suites/my_shapes.json", "tests/unit/test_my_shapes.py"}
    assert {file for file in files if not file.startswith("modelmill/tasks/my_shapes/")} == places
    task = (tmp_path / "modelmill/tasks/my_shapes/task.py").read_text()
    assert "from modelmill.tasks.my_shapes.network import Network\n\n\nclass MyShapes(ArrayTask)" in task
    ruff = [Path(sys.executable).with_name("ruff"), "--config", cli.ROOT / "pyproject.toml"]
    ruff += ["--config", 'lint.isort.known-first-party=["modelmill"]']
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        subprocess.run([*ruff, *command, tmp_path], check=True, cwd=tmp_path)
