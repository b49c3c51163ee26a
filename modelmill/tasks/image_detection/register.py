"""Model card and serving interface of a detector."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "object-detection"
LIBRARY = "mlflow"
USES = (
    "Gives the `boxes` (left, top, right and bottom in pixels), `labels` and `scores` of the objects in an `image`, "
    "a file in base64."
)
LIMITS = (
    "It finds objects of the sizes that it was trained on, and overlooks some. It was measured on held-out pictures of "
    "the same source alone, and nobody has checked it for bias or harm."
)
# Distributions that the serving script imports; MLflow adds itself.
REQUIREMENTS = ("torch", "transformers", "safetensors", "numpy", "pillow==13.0.0")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json",)
CONFIDENCE, SIDE = 0.3, 64


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """Return the served model's signature and an example of its input.

    Args:
        folder: Holds the files of `DESCRIBING`.
        columns: Types of the data's columns, by name.
    """
    import numpy as np
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    from modelmill.data.media.images import png

    # The detector of a checkpoint takes pictures of any size.
    side = json.loads((folder / "config.json").read_text("utf-8")).get("size", SIDE)
    image = base64.b64encode(png(np.full((side, side, 3), 128, np.uint8))).decode("ascii")
    outputs = {
        "boxes": Array(Array(DataType.double)),
        "labels": Array(DataType.string),
        "scores": Array(DataType.double),
    }
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "image")]),
        outputs=Schema([ColSpec(kind, name) for name, kind in outputs.items()]),
        params=ParamSchema([ParamSpec("confidence", DataType.double, CONFIDENCE)]),
    )
    return signature, pd.DataFrame({"image": [image]})
