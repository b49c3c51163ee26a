"""Model card and serving interface of a speech recogniser."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "automatic-speech-recognition"
LIBRARY = "mlflow"
USES = "Writes down what is spoken in `audio`, a WAV or FLAC file in base64."
LIMITS = (
    "It knows the words and the kinds of voices that it was trained on, and was measured on held-out voices of the "
    "same source alone. Other words, languages, microphones and noise were not tried."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "soundfile==0.14.0", "soxr==1.1.0")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json", "preprocessor_config.json", "processor_config.json")


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

    rate = _rate(folder)
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "audio")]), outputs=Schema([ColSpec(DataType.string, "transcript")])
    )
    silence = base64.b64encode(encode(np.zeros(rate // 10), rate)).decode("ascii")
    return signature, pd.DataFrame({"audio": [silence]})


def _rate(folder: Path) -> int:
    """Return the rate that a model hears: its own, or that of a checkpoint's feature extractor."""
    contents = [json.loads((folder / name).read_text("utf-8")) for name in DESCRIBING if (folder / name).is_file()]
    parts = [part for one in contents for part in (one, one.get("feature_extractor", {}))]
    keys = ("sample_rate", "sampling_rate")
    rate: int = next(part[key] for part in parts for key in keys if isinstance(part.get(key), int))
    return rate
