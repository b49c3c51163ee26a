"""Model card and serving interface of a model that finds entities."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "token-classification"
LIBRARY = "transformers"
USES = (
    "Gives the `entities` in a `text`: of each its `kind` and `text`, where it is (`start` and `end`, in characters "
    "from 0), and its `score`, the probability of its least sure word."
)
LIMITS = (
    "It finds the kinds of entities that it was trained on, and overlooks some. A text is split into words by a simple "
    "rule; how often that rule finds the words of the test texts is the metric `words_kept`. It was measured on "
    "held-out texts of the same source alone, and nobody has checked it for bias or harm."
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
    from mlflow.types.schema import Array, Object, Property

    types = {
        "kind": DataType.string,
        "text": DataType.string,
        "start": DataType.long,
        "end": DataType.long,
        "score": DataType.double,
    }
    entity = Object([Property(name, type_) for name, type_ in types.items()])
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "text")]),
        outputs=Schema([ColSpec(Array(entity), "entities")]),
    )
    return signature, pd.DataFrame({"text": ["The entities in this text are to be found."]})
