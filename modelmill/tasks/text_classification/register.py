"""Model card and serving interface of a text classifier."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "text-classification"
LIBRARY = "transformers"
USES = "Gives the most probable `label` of a `text` and its `probability`."
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

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "text")]),
        outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")]),
    )
    return signature, pd.DataFrame({"text": ["This text is to get a label."]})
