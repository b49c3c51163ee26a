"""Model card and serving interface of an image classifier."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "image-classification"
LIBRARY = "mlflow"
USES = "Gives the most probable `label` of an `image`, a file's bytes in base64, and its `probability`."
LIMITS = (
    "It gives one of its labels to any image, also to one that none of them fits. It was measured on held-out images "
    "of the same source alone, and nobody has checked it for bias or harm."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "transformers", "safetensors", "numpy", "pillow==13.0.0")
# Pixels a side of the example, where a checkpoint's processor takes images of any size.
SIDE = 64
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

    from modelmill.data.media.images import png

    config = json.loads((folder / "config.json").read_text("utf-8"))
    size, channels = config.get("size", SIDE), config.get("channels", config.get("num_channels", 3))
    blank = np.zeros((size, size, channels), np.uint8)
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image")]),
        outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "probability")]),
    )
    return signature, pd.DataFrame({"image": [base64.b64encode(png(blank)).decode("ascii")]})
