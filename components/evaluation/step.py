"""The evaluation step: metrics on the held-out split, and the gate that they must pass."""

import json
from typing import Any

from components.common import manifest
from components.common.manifest import Manifest
from components.common.step import Made, Step, run_step

CORPUS, PRETRAINED, FINE_TUNED = "preprocessing.corpus", "pretraining.model", "fine_tuning.model"


def run(
    *, recipe: str, store: str, run_id: str, corpus: str, pretrained: str, model: str, evaluation: str
) -> dict[str, Any]:
    """Evaluate; the last four are files that hold manifests. Returns `passed`, the gate's verdict."""
    return run_step(
        "evaluation",
        make,
        recipe=recipe,
        store=store,
        run_id=run_id,
        inputs={CORPUS: corpus, PRETRAINED: pretrained, FINE_TUNED: model},
        outputs={"evaluation": evaluation},
    )


def make(step: Step) -> Made:
    from components.evaluation.gate import judge
    from components.training import stage

    task = stage.open_task(step)
    if step.recipe.task == "language_modeling":
        from components.evaluation import language_modeling

        metrics, examples = language_modeling.evaluate(step, task)
    else:
        from components.evaluation import tabular

        metrics, examples = tabular.evaluate(step, task)
    verdict = judge(metrics, step.recipe.evaluation.gate.model_dump(exclude_none=True))
    files = {"metrics.json": metrics, "gate.json": verdict, **examples}
    made = Manifest(
        kind="evaluation",
        entries=[manifest.add_bytes(step.store, _json(content), name) for name, content in files.items()],
        made_from=step.digests,
        info={"passed": verdict["passed"], "metrics": metrics},
    )
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
    return Made(
        outputs={"evaluation": made},
        headline=f"{numbers}: {'passed' if verdict['passed'] else 'gate failed'}",
        values={"passed": verdict["passed"]},
        metrics=metrics,
    )


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode()
