"""A model made of adapters and their base, as a serving script loads it."""

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from modelmill.tasks.serving.model import refusal
from modelmill.tasks.serving.text import loaded, ready

# Variable with the folder of an adapter's base, where no registry can be reached.
BASE = "MODELMILL_BASE"


def load_adapted(context: Any, kind: Any) -> Any:
    """Return a model made of adapters and their base, joined as they were in training.

    The base is the registered version that `base.json` names, or the folder in `MODELMILL_BASE`; it must have the very
    bytes that the adapters were trained on.

    Args:
        context: MLflow's `PythonModelContext`.
        kind: A class of `transformers`, such as `AutoModelForCausalLM`.

    Raises:
        MlflowException: There is no such base, or it is another.
    """
    from modelmill.models.joining import join

    base = json.loads(Path(context.artifacts["base"]).read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="modelmill-base-") as scratch:
        model = loaded(_base_folder(base, scratch), kind)
        return ready(join(model, Path(context.artifacts["adapter"]), model.dtype))


def _base_folder(base: dict[str, Any], scratch: str) -> Path:
    """Return the folder of an adapter's base, fetched into a scratch folder; its files have been compared."""
    import mlflow

    where = os.environ.get(BASE) or base["source"]
    if where == base["source"]:
        try:
            root = Path(mlflow.artifacts.download_artifacts(artifact_uri=where, dst_path=scratch))
        except (mlflow.MlflowException, OSError) as error:
            why = str(error).partition("\n")[0]
            raise refusal(f"the adapter's base, {where}, cannot be fetched: {why}; set {BASE} to its folder") from error
    else:
        root = Path(where)
    weights = next(name for name in sorted(base["files"]) if name.endswith(".safetensors"))
    folder = next((file.parent for file in sorted(root.rglob(weights))), root)
    for name, sha256 in base["files"].items():
        if not (folder / name).is_file():
            raise refusal(f"the adapter's base, {where}, has no {name}; name {base['source']} as it was registered")
        with open(folder / name, "rb") as opened:
            actual = hashlib.file_digest(opened, "sha256").hexdigest()
        if actual != sha256:
            raise refusal(
                f"{where} is another base than the adapter was trained on: {name} has digest {actual[:12]}, not "
                f"{sha256[:12]}; name {base['source']} as it was registered"
            )
    return folder
