"""A model in the form that MLflow serves: a script, the model's files, a signature, an example, exact requirements."""

from pathlib import Path

import mlflow
from mlflow.models import Model
from mlflow.models.model import MLMODEL_FILE_NAME

from modelmill.components.registration import served_code
from modelmill.core import digest
from modelmill.recipe import task_packages
from modelmill.runtime import model_form
from modelmill.store.manifest import Manifest


def build(model: Manifest, dataset: Manifest, artifacts: dict[str, Path], target: Path, metadata: Model) -> Path:
    """Write the package, without a pickle and without importing what the script needs to serve.

    The model's files that `artifacts` does not hold have to be added below `artifacts/model`.

    Args:
        model: The model's manifest.
        dataset: The manifest of the data that it was trained on.
        artifacts: What the script is given, by name; `model` is a folder with the files that describe it.
        target: The folder to write.
        metadata: MLflow's description, to be filled.

    Returns:
        The folder.
    """
    task = model.info["task"]
    signature, example = task_packages.registration(task).interface_with(artifacts, dataset.info["columns"])
    code = served_code.files(task)
    modules = target.with_name(f"{target.name}-{served_code.FOLDER}")
    _write(modules, code)
    mlflow.pyfunc.save_model(
        path=str(target),
        # As it stands here, since MLflow runs it; then as it is shipped.
        python_model=str(task_packages.folder(task) / served_code.SCRIPT),
        code_paths=[str(folder) for folder in (modules / served_code.FOLDER).glob("*")] or None,
        artifacts={name: str(path) for name, path in artifacts.items()},
        signature=signature,
        input_example=example,
        pip_requirements=requirements(task, model.info["libraries"]),
        mlflow_model=metadata,
    )
    _write(target, code)
    here = sum(file.stat().st_size for file in target.rglob("*") if file.is_file() and file.name != MLMODEL_FILE_NAME)
    elsewhere = [entry for entry in model_form.registered(model) if not (target / "artifacts" / entry.path).exists()]
    metadata.model_size_bytes = here + sum(entry.bytes for entry in elsewhere)
    metadata.save(str(target / MLMODEL_FILE_NAME))
    return target


def contents(model: Manifest, artifacts: dict[str, Path]) -> dict[str, str]:
    """Return the sha256 of every file that `build` writes as it was given, by its path in the package.

    Args:
        model: The model's manifest.
        artifacts: See `build`.
    """
    return {
        **{f"artifacts/{entry.path}": entry.sha256 for entry in model_form.registered(model)},
        **own(model, artifacts),
    }


def own(model: Manifest, artifacts: dict[str, Path]) -> dict[str, str]:
    """Return the sha256 of the files that are not the model's, by their path: code, and what the script is given.

    Args:
        model: The model's manifest.
        artifacts: See `build`.
    """
    given = {f"artifacts/{file.name}": digest.of_file(file) for file in artifacts.values() if file.is_file()}
    code = {path: digest.of_bytes(data) for path, data in served_code.files(model.info["task"]).items()}
    return given | code


def requirements(task: str, libraries: dict[str, str]) -> list[str]:
    """Return exact versions of what the script imports.

    They are those that trained the model or, of a library that training does not have, the one that the task names. A
    build's local label (`2.13.0+cpu`) is left out: package indexes do not have it.

    Args:
        task: The task's name.
        libraries: Versions of the libraries that trained the model.
    """
    wanted = task_packages.registration(task).REQUIREMENTS
    known = {name: f"{name}=={version.partition('+')[0]}" for name, version in libraries.items()}
    return [known.get(name, name) for name in wanted if name in known or "==" in name]


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
