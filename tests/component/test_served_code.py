"""The code that a served model brings: it runs without Modelmill, and computes what was trained."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelmill.components.registration import package, served_code
from modelmill.core.errors import ModelmillError
from modelmill.recipe import step_code, step_specs, task_packages
from modelmill.store.manifest import Manifest
from tests import tiny_models

TASKS = sorted(task for task in task_packages.packages() if task_packages.is_ours(task))
LIBRARIES = dict.fromkeys(("torch", "transformers", "tokenizers", "safetensors", "numpy"), "1.0")
# A process in which Modelmill cannot be imported loads all models, and answers.
CHILD = """
import json, sys
from pathlib import Path
sys.modules["modelmill"] = None
import mlflow.pyfunc
import pandas as pd
for folder in sorted(Path(sys.argv[1]).iterdir()):
    served = mlflow.pyfunc.load_model(str(folder / "package"))
    asked = pd.read_json(folder / "asked.json", dtype=False)
    print(json.dumps({"task": folder.name, "answer": served.predict(asked).to_json()}))
"""


def build(task: str, folder: Path, files: dict[str, Path]) -> Path:
    from mlflow.models import Model

    manifest = Manifest(kind="model", info={"task": task, "libraries": LIBRARIES})
    dataset = Manifest(kind="dataset", info={"columns": {}})
    return package.build(manifest, dataset, {"model": folder / "model", **files}, folder / "package", Model())


def test_each_served_model_answers_without_modelmill_as_with_it(tmp_path: Path) -> None:
    expected = {}
    for task in TASKS:
        folder = tmp_path / task
        folder.mkdir()
        asked, files = tiny_models.write(task, folder / "model")
        build(task, folder, files)
        asked.to_json(folder / "asked.json")
        module = __import__(f"{task_packages.packages()[task]}.serve", fromlist=["serve"])
        served = getattr(module, re.findall(r"set_model\((\w+)\(\)\)", Path(module.__file__).read_text())[0])()
        served.load_context(SimpleNamespace(artifacts={"model": folder / "model", **files}))
        expected[task] = served.predict(None, asked).to_json()
    done = subprocess.run([sys.executable, "-P", "-c", CHILD, tmp_path], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answers = {one["task"]: one["answer"] for one in map(json.loads, done.stdout.splitlines())}
    assert answers == expected
    assert all(answers.values())


@pytest.mark.parametrize("task", TASKS)
def test_what_is_shipped_changes_the_key_and_imports_what_is_asked_for(task: str) -> None:
    files = {path: data.decode() for path, data in served_code.files(task).items()}
    (name,) = {path.split("/")[1] for path in files if path != served_code.SCRIPT}
    imported = {top for text in files.values() for top in re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE)}
    asked = {
        one.partition("==")[0].replace("pillow", "PIL").replace("Jinja2", "jinja2")
        for one in task_packages.registration(task).REQUIREMENTS
    }
    # mlflow asks for these itself; soxr is for recordings that may have another rate.
    assert imported <= {*asked, *sys.stdlib_module_names, "mlflow", "pandas", "numpy", "pyarrow", "soxr", name}
    keyed = step_code.source_files("registration", task, step_specs.STEPS["registration"].parts)
    modules = {path.removesuffix("/__init__.py").removesuffix(".py").split("/", 2)[2] for path in files if "/" in path}
    assert {module.replace("/", ".") for module in modules} <= set(keyed)


def test_a_package_is_named_after_its_code() -> None:
    names = [next(path for path in served_code.files(task) if "/" in path).split("/")[1] for task in TASKS]
    assert len(set(names)) == len(names)


def test_what_changes_no_key_is_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "strange"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "serve.py").write_text("from modelmill.core.errors import UserError\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(task_packages, "packages", lambda: {"strange": "strange"})
    with pytest.raises(ModelmillError, match=r"task strange: serve\.py imports modelmill\.core\.errors, which"):
        served_code.files("strange")
