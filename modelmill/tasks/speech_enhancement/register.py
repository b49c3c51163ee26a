"""Model card and serving interface of a speech enhancer."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "audio-to-audio"
LIBRARY = "mlflow"
USES = "Makes of `audio`, a WAV or FLAC file in base64, the same speech with less noise: a WAV file in base64."
LIMITS = (
    "It was trained on synthetic voices and few kinds of noise, may take parts of the speech for noise, and was "
    "measured on held-out recordings of the same source alone. Nobody has checked it for bias or harm."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "safetensors", "numpy", "soundfile==0.14.0", "soxr==1.1.0")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json",)


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """Return the served model's signature and an example of its input.

    Args:
        folder: Holds the files of `DESCRIBING`.
        columns: Types of the data's columns, by name.
    """
    import numpy as np
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    from modelmill.data.media.audio import encode

    rate = json.loads((folder / "config.json").read_text("utf-8"))["sample_rate"]
    hum = 0.1 * np.sin(2 * np.pi * 200 * np.arange(rate // 4) / rate)
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "audio")]), outputs=Schema([ColSpec(DataType.string, "audio")])
    )
    return signature, pd.DataFrame({"audio": [base64.b64encode(encode(hum, rate)).decode("ascii")]})
