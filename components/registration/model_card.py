"""The model card, with the fields of Hugging Face's format (https://huggingface.co/docs/hub/model-cards).

It goes into the registered model as README.md, and is the version's description.
"""

import json
from typing import TYPE_CHECKING, Any

import yaml

from modelmill.recipe import task_packages
from modelmill.recipe.step_specs import DATASET, EVALUATION, FINE_TUNED, VALIDATION
from modelmill.runtime import model_form
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest

if TYPE_CHECKING:
    from modelmill.tasks.contract import Registering


def write(step: Step) -> str:
    """Return the card in Markdown, with its metadata in front as YAML."""
    name = step.recipe.registration.model
    sections = {
        "Model details": _details(step),
        "Uses": _task(step).USES,
        "Bias, risks and limitations": _task(step).LIMITS,
        "How to get started": f'```python\nmlflow.pyfunc.load_model("models:/{name}@champion")\n```',
        "Training data": _data(step),
        "Evaluation": _evaluation(step),
        "Lineage": _lineage(step),
    }
    body = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in sections.items())
    return f"---\n{yaml.safe_dump(_metadata(step), sort_keys=False)}---\n\n# {name}\n\n{body}\n"


def _metadata(step: Step) -> dict[str, Any]:
    task, dataset = step.recipe.task, step.inputs[DATASET]
    metrics = [{"type": name, "value": value} for name, value in step.inputs[EVALUATION].info["metrics"].items()]
    result = {
        "task": {"type": _task(step).PIPELINE_TAG},
        "dataset": {
            "name": step.recipe.name,
            "type": step.recipe.name,
            "split": "test",
            "revision": dataset.digest[:12],
        },
        "metrics": metrics,
    }
    return {
        "library_name": _task(step).LIBRARY,
        "pipeline_tag": _task(step).PIPELINE_TAG,
        "tags": ["modelmill", task],
        "model-index": [{"name": step.recipe.registration.model, "results": [result]}],
    }


def _task(step: Step) -> "Registering":
    return task_packages.registration(step.recipe.task)


def _details(step: Step) -> str:
    model = step.inputs[FINE_TUNED]
    sizes = [f"{model.info[key]:,} {key}" for key in ("parameters", "steps") if key in model.info]
    lines = [
        f"- **Task:** {step.recipe.task}, recipe `{step.recipe.name}`",
        f"- **Model:** {', '.join(sizes) or 'as it came in'}",
    ]
    if model_form.is_adapter(model):
        base = model_form.base(model)
        lines.append(f"- **Adapter of:** `{base['source']}`, digest `{base['digest']}`, joined when it is loaded")
    if libraries := model.info.get("libraries"):
        lines.append("- **Made with:** " + ", ".join(f"{name} {version}" for name, version in libraries.items()))
    return "\n".join(lines)


def _data(step: Step) -> str:
    dataset = step.inputs[DATASET]
    kept = "kept" if step.inputs[VALIDATION].info.get("success") else "did not keep"
    rows, shards = dataset.info["rows"], len(dataset.entries)
    return f"{rows:,} rows in {shards:,} shards, which {kept} the suite of expectations."


def _evaluation(step: Step) -> str:
    evaluation, bounds = step.inputs[EVALUATION], _bounds(step)
    rows = [f"| {name} | {value:.6g} | {bounds.get(name, '')} |" for name, value in evaluation.info["metrics"].items()]
    lines = ["| Metric | Value | Threshold |", "|---|---|---|", *rows]
    if decision := evaluation.info.get("decision"):
        lines += ["", decision["reason"]]
    return "\n".join(lines)


def _bounds(step: Step) -> dict[str, str]:
    """Return the gate's bounds by metric, in words."""
    gate: dict[str, Any] = json.loads(manifest.read_entry(step.store, step.inputs[EVALUATION].entry("gate.json")))
    words: dict[str, list[str]] = {}
    for check in gate["checks"]:
        ends = (("at least", check["min"]), ("at most", check["max"]))
        said = [f"{word} {value:.4g}" for word, value in ends if value is not None]
        words.setdefault(check["metric"], []).extend(
            f"{one} ({b})" if (b := check.get("baseline")) else one for one in said
        )
    return {metric: ", ".join(said) for metric, said in words.items()}


def _lineage(step: Step) -> str:
    digests = {"model": FINE_TUNED, "dataset": DATASET, "validation": VALIDATION, "evaluation": EVALUATION}
    lines = [f"- **{name}:** `{step.inputs[key].digest}`" for name, key in digests.items()]
    return "\n".join([*lines, f"- **run:** `{step.run_id}`", f"- **code:** `{step.document['code']['source']}`"])
