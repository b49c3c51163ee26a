"""Model card and serving interface of an image generator."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "unconditional-image-generation"
LIBRARY = "mlflow"
USES = "Makes `count` images from a `seed`: `image` is a PNG file in base64, of several images a grid."
LIMITS = (
    "It makes what is like the images that it has learned, their faults included, and may repeat some of them. It was "
    "measured against held-out images of the same source alone, and nobody has checked it for bias or harm."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "safetensors", "numpy", "pillow==13.0.0")
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
        inputs=Schema([ColSpec(DataType.long, "seed"), ColSpec(DataType.long, "count")]),
        outputs=Schema([ColSpec(DataType.string, "image")]),
    )
    return signature, pd.DataFrame({"seed": [0], "count": [16]})
