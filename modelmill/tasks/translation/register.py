"""What registration says of a translator, and how it is asked."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "translation"
LIBRARY = "transformers"
USES = "Gives the `translation` of a `text`."
LIMITS = (
    "It writes something for any text, also for one that is nothing like its training data. It was measured on "
    "held-out texts of the same source alone, and nobody has checked it for bias or harm."
)
# What the serving script imports; mlflow adds itself.
REQUIREMENTS = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
# Of the model's files, those that the package is described with.
DESCRIBING = ("config.json",)


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """What goes in, what comes out, and an example of the former."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "text")]), outputs=Schema([ColSpec(DataType.string, "translation")])
    )
    return signature, pd.DataFrame({"text": ["Western Isles"]})
