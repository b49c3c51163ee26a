"""Model card and serving interface of a language model."""

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
# Distributions that the serving script imports, peft for adapters only; MLflow adds itself.
REQUIREMENTS = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "peft", "Jinja2==3.1.6")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json",)
MODEL, CORPUS = "fine_tuning.model", "preprocessing.corpus"
NEW_TOKENS = 64


def interface(folder: Path, columns: dict[str, str]) -> "tuple[ModelSignature, pd.DataFrame]":
    """Return the served model's signature and an example of its input.

    Args:
        folder: Holds the files of `DESCRIBING`.
        columns: Types of the data's columns, by name.
    """
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
    """Return the file that tells the serving script how a prompt was framed in training."""
    file = step.scratch / "prompting.json"
    file.write_text(json.dumps(_prompting(step, step.scratch / "model"), indent=2), "utf-8")
    return {"prompting": file}


def _prompting(step: Step, folder: Path) -> dict[str, list[int] | int | bool | str]:
    """Return the framing of prompts in training: token ids, and the tokens that prompt and completion share.

    A chat template is rendered for each prompt, so of that only the date is said. Where no pairs were learned, a prompt
    is framed as the beginning of a text.
    """
    model = step.inputs[MODEL]
    corpus = manifest.load(step.store, model.made_from[CORPUS]).info
    learned_pairs = model.info["stage"] == "fine_tuning" and model.info["trained"]
    config = json.loads((folder / "config.json").read_text("utf-8"))
    end = corpus["end_of_text"]
    text = {"before": corpus.get("opening", [end]), "between": [], "stop": end, "trims": False}
    frame = corpus["frame"] if learned_pairs else text
    length = config.get("max_position_embeddings") or corpus["sequence_length"]
    if frame.get("chat"):
        return {"chat": True, "date": frame["date"], "end": sorted({frame["stop"], end}), "length": length}
    return {
        "before": frame["before"],
        "after": frame["between"],
        "end": sorted({end, frame["stop"]}),
        "trims": frame["trims"],
        "length": length,
    }
