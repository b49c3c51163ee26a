"""Model card and serving interface of a recurrent language model."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "text-generation"
LIBRARY = "mlflow"
USES = "Continues a `prompt` greedily, a byte at a time; predict takes `max_new_bytes`."
LIMITS = (
    "It repeats what its training data says, true or not. It was measured on held-out documents of the same source "
    "alone, and nobody has checked it for bias or harm."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "safetensors", "numpy")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json",)
NEW_BYTES = 200


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """Return the served model's signature and an example of its input.

    Args:
        folder: Holds the files of `DESCRIBING`.
        columns: Types of the data's columns, by name.
    """
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "prompt")]),
        outputs=Schema([ColSpec(DataType.string, "completion")]),
        params=ParamSchema([ParamSpec("max_new_bytes", DataType.long, NEW_BYTES)]),
    )
    return signature, pd.DataFrame({"prompt": ["Return the "]})
