"""Model card and serving interface of a classifier of rows."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "tabular-classification"
LIBRARY = "mlflow"
USES = "Gives the most probable `label` of a row and its `probability`."
LIMITS = (
    "It gives an answer for rows that are unlike all it has seen, too. It was measured on held-out rows of the same "
    "source alone, and nobody has checked it for bias or harm."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "safetensors", "numpy")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json", "scaler.json")


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """Return the served model's signature and an example of its input.

    A column of whole numbers in the data is one here too, because MLflow refuses int64 where a signature says double.

    Args:
        folder: Holds the files of `DESCRIBING`.
        columns: Types of the data's columns, by name.
    """
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    features = json.loads((folder / "config.json").read_text("utf-8"))["features"]
    mean = json.loads((folder / "scaler.json").read_text("utf-8"))["mean"]
    whole = {name for name in features if "int" in columns.get(name, "")}
    example = {name: round(value) if name in whole else value for name, value in zip(features, mean, strict=True)}
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.long if name in whole else DataType.double, name) for name in features]),
        outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")]),
    )
    return signature, pd.DataFrame([example])
