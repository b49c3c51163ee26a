"""The version's description: a short model card in Markdown."""

import json
from typing import Any

from components.common import manifest
from components.common.step import Step
from components.registration.step import DATASET, EVALUATION, MODEL

USES = {
    "language_modeling": "Completes a `prompt` greedily, framed as in training; predict takes `max_new_tokens`.",
    "tabular_classification": "Gives the most probable `label` of a row and its `probability`.",
}


def write(step: Step) -> str:
    """What it is, what it was trained on, how it was measured, how to load it."""
    dataset, model, evaluation = (step.inputs[name] for name in (DATASET, MODEL, EVALUATION))
    task = model.info["task"]
    sizes = [f"{model.info[key]} {key}" for key in ("parameters", "steps") if key in model.info]
    lines = [
        f"## {step.recipe.registration.model}",
        USES[task],
        f"- **Task:** {task}, recipe `{step.recipe.name}`",
        f"- **Model:** {', '.join(sizes) or 'as it came in'}, `{model.digest[:12]}`",
        f"- **Data:** {dataset.info['rows']} rows in {len(dataset.entries)} shards, `{dataset.digest[:12]}`",
        f"- **Run:** `{step.run_id}`, code `{step.document['code']['source'][:12]}`",
        "",
        "| Metric | Value | Threshold |",
        "|---|---|---|",
    ]
    bounds = _bounds(step)
    rows = [f"| {k} | {v:.6g} | {bounds.get(k, '')} |" for k, v in evaluation.info["metrics"].items()]
    load = f'mlflow.pyfunc.load_model("models:/{step.recipe.registration.model}@champion")'
    return "\n".join([*lines[:2], "", *lines[2:], *rows, "", "```python", load, "```"]) + "\n"


def _bounds(step: Step) -> dict[str, str]:
    """The gate's bounds by metric, in words."""
    gate: dict[str, Any] = json.loads(manifest.read_entry(step.store, step.inputs[EVALUATION].entry("gate.json")))
    words = {}
    for check in gate["checks"]:
        ends = (("at least", check["min"]), ("at most", check["max"]))
        words[check["metric"]] = ", ".join(f"{word} {value:g}" for word, value in ends if value is not None)
    return words
