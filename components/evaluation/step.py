"""The evaluation step: every held-out example measured, the gate, and the comparison with the champion."""

import json
from typing import Any

from modelmill.champion import champion_state
from modelmill.champion.comparison import rows
from modelmill.recipe import task_packages
from modelmill.recipe.step_specs import CHAMPION, CORPUS, FINE_TUNED
from modelmill.runtime.step_runtime import Made, Step, entry
from modelmill.store import manifest
from modelmill.store.manifest import Manifest


def make(step: Step) -> Made:
    """Return the evaluation of the step's model, with the verdict of gate and comparison as `passed`."""
    from modelmill.components.evaluation import champion
    from modelmill.components.evaluation.gate import judge
    from modelmill.training import loading

    task = loading.open_task(step)
    measured = task_packages.evaluation(step.recipe.task).evaluate(step, task)
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
        same_for=_as_champion(step, made) if passed else {},
        metrics=measured.metrics,
    )


run = entry("evaluation", make)


def _as_champion(step: Step, made: Manifest) -> dict[str, str]:
    """Return the champion for which the evaluation would be the same: its own model, not compared with itself."""
    if made.info["comparison"] is None:
        return {}
    return {CHAMPION: champion_state.digest_of(step.inputs[FINE_TUNED].digest, made.digest)}


def _in_short(gate: dict[str, Any], decision: dict[str, Any]) -> str:
    verdict = "passed" if gate["passed"] and decision["passed"] else "gate failed"
    return f"{verdict}; against the champion: {decision['verdict']}" if "champion" in decision else verdict


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode()
