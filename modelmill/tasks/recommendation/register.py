"""Model card and serving interface of a recommender."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "other"
LIBRARY = "mlflow"
USES = (
    "Ranks the items that follow a `history`, oldest first: a JSON list of item ids, or ids with commas between them; "
    "predict takes `top`. What is in the history is not among them."
)
LIMITS = (
    "It knows the items that were in its data, and repeats what people did there. It was measured on each user's last "
    "interaction, whose moment the others may be later than, and nobody has checked it for bias or harm."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "safetensors", "numpy")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json", "catalogue.json")
TOP, EXAMPLE = 10, 3


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """Return the served model's signature and an example of its input.

    Args:
        folder: Holds the files of `DESCRIBING`.
        columns: Types of the data's columns, by name.
    """
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    items = json.loads((folder / "catalogue.json").read_text("utf-8"))["items"]
    outputs = [
        ColSpec(Array(DataType.string), "items"),
        ColSpec(Array(DataType.double), "scores"),
        ColSpec(Array(DataType.string), "unknown"),
    ]
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "history")]),
        outputs=Schema(outputs),
        params=ParamSchema([ParamSpec("top", DataType.long, TOP)]),
    )
    return signature, pd.DataFrame({"history": [json.dumps(items[:EXAMPLE], ensure_ascii=False)]})
