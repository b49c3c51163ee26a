"""Model card and serving interface of a text classifier."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "text-classification"
LIBRARY = "transformers"
USES = (
    "Gives the most probable `label` of a `text` and its `probability`; a model of any number of labels gives `labels` "
    "and `probabilities`, and one of numbers a `value`. A model of pairs reads a `text_pair`, too."
)
LIMITS = (
    "It gives one of its labels to any text, also to one that none of them fits. It was measured on held-out texts of "
    "the same source alone, and nobody has checked it for bias or harm."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json",)


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """Return the served model's signature and an example of its input.

    Args:
        folder: Holds the files of `DESCRIBING`.
        columns: Types of the data's columns, by name.
    """
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    config = json.loads((folder / "config.json").read_text("utf-8"))
    asked = {"text": "This text is to get a label."}
    asked |= {"text_pair": "This one is read with it."} if config.get("text_pair") else {}
    answers = _answers(config.get("problem_type"))
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, name) for name in asked]),
        outputs=Schema([ColSpec(kind, name) for name, kind in answers.items()]),
    )
    return signature, pd.DataFrame({name: [text] for name, text in asked.items()})


def _answers(problem: str | None) -> dict[str, Any]:
    """Return the types of the answers' columns."""
    from mlflow.types import DataType
    from mlflow.types.schema import Array

    if problem == "multi_label_classification":
        return {"labels": Array(DataType.string), "probabilities": Array(DataType.double)}
    if problem == "regression":
        return {"value": DataType.double}
    return {"label": DataType.string, "probability": DataType.double}
