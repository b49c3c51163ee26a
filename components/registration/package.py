"""A model in the form that MLflow serves: a script, the model's files, a signature, an example, exact requirements."""

import json
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from components.common import digest
from components.common.manifest import Manifest

SCRIPTS = Path(__file__).parent / "serving"
# What each serving script imports; mlflow adds itself.
REQUIREMENTS = {
    "language_modeling": ("torch", "transformers", "tokenizers", "safetensors", "numpy"),
    "tabular_classification": ("safetensors", "numpy"),
}
NEW_TOKENS = 64


def build(model: Manifest, dataset: Manifest, artifacts: dict[str, Path], target: Path, metadata: Model) -> Path:
    """Write the package to `target`, without a pickle and without importing what the script needs to serve; the model's
    files that `artifacts` does not hold have to be added below `artifacts/model`.

    Args:
        artifacts: what the script is given, by name; `model` is a folder with those that describe it.
    """
    task = model.info["task"]
    signature, example = _interface(task, artifacts["model"], dataset.info["columns"])
    mlflow.pyfunc.save_model(
        path=str(target),
        python_model=str(SCRIPTS / f"{task}.py"),
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
    script = SCRIPTS / f"{model.info['task']}.py"
    own = {f"artifacts/{file.name}": file for file in artifacts.values() if file.is_file()} | {script.name: script}
    return {
        **{f"artifacts/{entry.path}": entry.sha256 for entry in model.under("model")},
        **{name: digest.of_file(file) for name, file in own.items()},
    }


def requirements(task: str, libraries: dict[str, str]) -> list[str]:
    """Exact versions of what the script imports: those that trained the model.

    A build's local label (`2.13.0+cpu`) is left out: package indexes do not have it.
    """
    return [f"{name}=={libraries[name].partition('+')[0]}" for name in REQUIREMENTS[task] if name in libraries]


def _interface(task: str, folder: Path, columns: dict[str, str]) -> tuple[ModelSignature, pd.DataFrame]:
    """What goes in, what comes out, and an example of the former.

    A column of whole numbers in the data is one here too: MLflow turns down int64 where a signature says double.
    """
    if task == "language_modeling":
        signature = ModelSignature(
            inputs=Schema([ColSpec(DataType.string, "prompt")]),
            outputs=Schema([ColSpec(DataType.string, "completion")]),
            params=ParamSchema([ParamSpec("max_new_tokens", DataType.long, NEW_TOKENS)]),
        )
        return signature, pd.DataFrame({"prompt": ["def area(width, height):"]})
    features = json.loads((folder / "config.json").read_text("utf-8"))["features"]
    mean = json.loads((folder / "scaler.json").read_text("utf-8"))["mean"]
    whole = {name for name in features if "int" in columns.get(name, "")}
    example = {name: round(value) if name in whole else value for name, value in zip(features, mean, strict=True)}
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.long if name in whole else DataType.double, name) for name in features]),
        outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")]),
    )
    return signature, pd.DataFrame([example])
