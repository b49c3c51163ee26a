"""What a serving script is given beside the weights: the model's settings, and how a language model is asked."""

import json
from pathlib import Path

from components.common import manifest
from components.common.step import Step

MODEL, CORPUS = "fine_tuning.model", "preprocessing.corpus"
# Of the model's files, those that a package is described with. The others go straight to MLflow (see `delivery`).
_DESCRIBING = {"model/config.json", "model/scaler.json"}


def collect(step: Step) -> dict[str, Path]:
    """Checked files in the step's scratch folder, by the names that the script knows them by; of the model's files only
    those that describe it.

    Raises:
        Corrupt: their bytes, or the manifest of the corpus that the model was trained on, are not in the store.
    """
    manifest.place(step.store, [e for e in step.inputs[MODEL].entries if e.path in _DESCRIBING], step.scratch)
    artifacts = {"model": step.scratch / "model"}
    if step.recipe.task == "language_modeling":
        artifacts["prompting"] = step.scratch / "prompting.json"
        artifacts["prompting"].write_text(json.dumps(_prompting(step, artifacts["model"]), indent=2), "utf-8")
    return artifacts


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
