"""What registration says of a language model, and how it is asked."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

PIPELINE_TAG = "text-generation"
LIBRARY = "transformers"
USES = "Completes a `prompt` greedily, framed as in training; predict takes `max_new_tokens`."
LIMITS = (
    "It repeats what its training data says, true or not. It was measured on held-out files of the same source alone, "
    "and nobody has checked it for bias or harm."
)
# What the serving script imports; mlflow adds itself.
REQUIREMENTS = ("torch", "transformers", "tokenizers", "safetensors", "numpy")
# Of the model's files, those that the package is described with.
DESCRIBING = ("config.json",)
MODEL, CORPUS = "fine_tuning.model", "preprocessing.corpus"
NEW_TOKENS = 64


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """What goes in, what comes out, and an example of the former."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "prompt")]),
        outputs=Schema([ColSpec(DataType.string, "completion")]),
        params=ParamSchema([ParamSpec("max_new_tokens", DataType.long, NEW_TOKENS)]),
    )
    return signature, pd.DataFrame({"prompt": ["def area(width, height):"]})


def artifacts(step: Step) -> dict[str, Path]:
    """What the serving script is given beside the model: how a language model is asked."""
    file = step.scratch / "prompting.json"
    file.write_text(json.dumps(_prompting(step, step.scratch / "model"), indent=2), "utf-8")
    return {"prompting": file}


def _prompting(step: Step, folder: Path) -> dict[str, list[int] | int | bool]:
    """How a prompt was framed in training: as a pair's was, or, where no pairs were learned, as a text that
    end-of-text opens. Token ids, and the tokens that prompt and completion have room for.
    """
    model = step.inputs[MODEL]
    corpus = manifest.load(step.store, model.made_from[CORPUS]).info
    learned_pairs = model.info["stage"] == "fine_tuning" and model.info["trained"]
    config = json.loads((folder / "config.json").read_text("utf-8"))
    end = corpus["end_of_text"]
    text = {"before": [end], "between": [], "stop": end, "trims": False}
    frame = corpus["frame"] if learned_pairs else text
    return {
        "before": frame["before"],
        "after": frame["between"],
        "end": sorted({end, frame["stop"]}),
        "trims": frame["trims"],
        "length": config.get("max_position_embeddings") or corpus["sequence_length"],
    }
