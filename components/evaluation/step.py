"""The evaluation step: every held-out example measured, the gate, and the comparison with the champion."""

import json
from typing import Any

from modelmill.champion.comparison import rows
from modelmill.recipe import task_packages
from modelmill.recipe.step_specs import CORPUS, FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Made, Step, run_step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest


def run(
    *, recipe: str, store: str, run_id: str, corpus: str, pretrained: str, model: str, evaluation: str
) -> dict[str, Any]:
    """Evaluate; the last four are files that hold manifests. Returns `passed`: the model may be registered."""
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
    from modelmill.components.evaluation import champion
    from modelmill.components.evaluation.gate import judge
    from modelmill.measures.measured import Measured
    from modelmill.training.loop import stage

    task = stage.open_task(step)
    measured: Measured = task_packages.part(step.recipe.task, "evaluate").evaluate(step, task)
    settings = step.recipe.evaluation
    gate = judge(measured.metrics, settings.gate.model_dump(exclude_none=True), measured.baselines)
    files = {"metrics.json": measured.metrics, "gate.json": gate, **measured.files}
    entries = [manifest.add_bytes(step.store, _json(content), name) for name, content in files.items()]
    table = rows.write(measured.rows)
    entries.append(manifest.add_bytes(step.store, table, rows.FILE, rows=len(measured.rows)))
    corpus = step.inputs[CORPUS].info
    made = Manifest(
        kind="evaluation",
        entries=entries,
        made_from=step.digests,
        info={
            "metrics": measured.metrics,
            "held_out": corpus["held_out"] | {key: corpus[key] for key in ("classes",) if key in corpus},
            "comparison": champion.settings(step),
        },
    )
    decision = champion.compare(step, made)
    passed = gate["passed"] and decision["passed"]
    made = made.model_copy(update={"info": made.info | {"passed": passed, "decision": decision}})
    if not passed:
        champion.log_refusal(step, made, gate)
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in measured.metrics.items())
    return Made(
        outputs={"evaluation": made},
        headline=f"{numbers}: {_in_short(gate, decision)}",
        values={"passed": passed},
        metrics=measured.metrics,
    )


def _in_short(gate: dict[str, Any], decision: dict[str, Any]) -> str:
    verdict = "passed" if gate["passed"] and decision["passed"] else "gate failed"
    return f"{verdict}; against the champion: {decision['verdict']}" if "champion" in decision else verdict


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode()
