"""Model card and serving interface of a speech synthesiser."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "text-to-speech"
LIBRARY = "mlflow"
USES = "Reads `text` aloud: `audio` is a WAV of 16 bits in base64."
LIMITS = (
    "It has the voice that it was trained on last, and was measured on texts of the words that it was trained on. It "
    "knows no characters but those, and how other words are spoken it guesses by their letters."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "safetensors", "numpy", "soundfile==0.14.0")
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

    alphabet = json.loads((folder / "config.json").read_text("utf-8"))["alphabet"]
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "text")]), outputs=Schema([ColSpec(DataType.string, "audio")])
    )
    return signature, pd.DataFrame({"text": [alphabet.strip()[:4]]})
