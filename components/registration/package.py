"""A model in the form that MLflow serves: a script, the model's files, a signature, an example, exact requirements."""

from pathlib import Path

import mlflow
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from modelmill.core import digest
from modelmill.recipe import task_packages
from modelmill.store.manifest import Manifest

SCRIPT = "serve.py"


def build(model: Manifest, dataset: Manifest, artifacts: dict[str, Path], target: Path, metadata: Model) -> Path:
    """Write the package to `target`, without a pickle and without importing what the script needs to serve; the model's
    files that `artifacts` does not hold have to be added below `artifacts/model`.

    Args:
        artifacts: what the script is given, by name; `model` is a folder with those that describe it.
    """
    task = model.info["task"]
    signature, example = task_packages.part(task, "register").interface(artifacts["model"], dataset.info["columns"])
    mlflow.pyfunc.save_model(
        path=str(target),
        python_model=str(task_packages.folder(task) / SCRIPT),
        artifacts={name: str(path) for name, path in artifacts.items()},
        signature=signature,
        input_example=example,
        pip_requirements=requirements(task, model.info["libraries"]),
        mlflow_model=metadata,
    )
    metadata.model_size_bytes += sum(
        e.bytes for e in model.under("model") if not (target / "artifacts" / e.path).exists()
    )
    metadata.save(str(target / MLMODEL_FILE_NAME))
    return target


def contents(model: Manifest, artifacts: dict[str, Path]) -> dict[str, str]:
    """The sha256 of every file that `build` was given, by its path in the package."""
    script = task_packages.folder(model.info["task"]) / SCRIPT
    own = {f"artifacts/{file.name}": file for file in artifacts.values() if file.is_file()} | {script.name: script}
    return {
        **{f"artifacts/{entry.path}": entry.sha256 for entry in model.under("model")},
        **{name: digest.of_file(file) for name, file in own.items()},
    }


def requirements(task: str, libraries: dict[str, str]) -> list[str]:
    """Exact versions of what the script imports: those that trained the model, or that the task names itself because
    training does not have the library.

    A build's local label (`2.13.0+cpu`) is left out: package indexes do not have it.
    """
    wanted = task_packages.part(task, "register").REQUIREMENTS
    known = {name: f"{name}=={version.partition('+')[0]}" for name, version in libraries.items()}
    return [known.get(name, name) for name in wanted if name in known or "==" in name]
