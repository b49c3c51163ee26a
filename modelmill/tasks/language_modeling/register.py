"""Model card and serving interface of a language model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest
from modelmill.tasks.serving import parameters
from modelmill.tasks.serving.parameters import Parameter

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema

PIPELINE_TAG = "text-generation"
LIBRARY = "transformers"
USES = (
    "Completes a `prompt`, framed as in training; predict takes `max_new_tokens`. A model of chats also answers "
    "`messages` in the shape of OpenAI's chat completions; predict takes `max_tokens`. Both take `temperature`, "
    "`top_p`, `top_k`, `seed` and `stop`; without `temperature` the likeliest tokens are taken."
)
LIMITS = (
    "It repeats what its training data says, true or not. It was measured on held-out files of the same source alone, "
    "and nobody has checked it for bias or harm."
)
# Distributions that the serving script imports, peft for adapters only; MLflow adds itself.
REQUIREMENTS = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "peft", "Jinja2==3.1.6")
# Files of the model that `interface` reads.
DESCRIBING = ("config.json",)
MODEL, CORPUS = "fine_tuning.model", "preprocessing.corpus"


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
        inputs=Schema([ColSpec(DataType.string, "prompt")]),
        outputs=Schema([ColSpec(DataType.string, "completion")]),
        params=_schema(parameters.COMPLETION),
    )
    return signature, pd.DataFrame({"prompt": ["def area(width, height):"]})


def interface_with(artifacts: dict[str, Path], columns: dict[str, str]) -> "tuple[ModelSignature, Any]":
    """Return the served model's signature and an example: of conversations where it was trained on chats.

    Its `messages` and `tools` are objects of any keys, as templates differ in what they read; the script checks them. A
    `prompt` is still answered, with a `completion`.

    Args:
        artifacts: What the script is given.
        columns: Types of the data's columns, by name.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.llm import CHAT_MODEL_OUTPUT_SCHEMA
    from mlflow.types.schema import AnyType, Array, Map

    if not json.loads(artifacts["prompting"].read_text("utf-8")).get("chat"):
        return interface(artifacts["model"], columns)
    objects = Array(Map(AnyType()))
    inputs = [ColSpec(objects, "messages", False), ColSpec(objects, "tools", False)]
    # Declared so that a request for what is not done is refused: MLflow drops what a signature does not name.
    inputs += [ColSpec(AnyType(), name, False) for name in ("tool_choice", "response_format")]
    signature = ModelSignature(
        inputs=Schema([*inputs, ColSpec(DataType.string, "prompt", False)]),
        outputs=CHAT_MODEL_OUTPUT_SCHEMA,
        params=_schema(parameters.CHAT),
    )
    return signature, {"messages": [{"role": "user", "content": "Hello!"}]}


def _schema(known: tuple[Parameter, ...]) -> "ParamSchema":
    from mlflow.types import ParamSchema, ParamSpec

    return ParamSchema([ParamSpec(one.name, one.type, one.default, (-1,) if one.is_list else None) for one in known])


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
    name = step.recipe.registration.model
    if frame.get("chat"):
        ends = sorted({frame["stop"], *frame.get("stops", []), end})
        return {"chat": True, "date": frame["date"], "end": ends, "length": length, "model": name}
    return {
        "before": frame["before"],
        "after": frame["between"],
        "end": sorted({end, frame["stop"]}),
        "trims": frame["trims"],
        "length": length,
        "model": name,
    }
