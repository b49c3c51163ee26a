"""The outcome of a run, from its records alone, so that it is known even of a run that was killed."""

import logging
from typing import Any

from modelmill.components.reporting.evidence import Run, parse_json
from modelmill.core.errors import Cancelled, one_line
from modelmill.recipe.step_specs import LOOK, STEPS
from modelmill.runtime import cancellation, retraining, run_records, tracking
from modelmill.runtime.cancellation import Cancellation
from modelmill.runtime.pods import why

log = logging.getLogger("modelmill")

REGISTERED, GATE_FAILED, FAILED, IDLE = "registered", "gate failed", "failed", "nothing to do"
CANCELLED = "cancelled"
KILLED = "its process was killed without a word, which is what running out of memory or losing the machine looks like"


def decide(run: Run, finished: float) -> dict[str, Any]:
    """Return the document of `outcome.json`.

    `exit_code` is the command line's: 0 for registered or nothing to do, 3 for a failed gate, 2 for a user's mistake, 4
    for a cancelled run, 1 for the rest.

    Args:
        run: The evidence that the run left in the store.
        finished: When it ended, in seconds since 1970.
    """
    outcome, exit_code, failed_step, reason = _verdict(run)
    if outcome == FAILED and (cancelled := cancellation.seen(run.store, run.run_id)):
        outcome, exit_code = CANCELLED, Cancelled.exit_code
        reason = _why_cancelled(run.steps.get(failed_step or ""), cancelled)
    return {
        "run_id": run.run_id,
        "outcome": outcome,
        "exit_code": exit_code,
        "failed_step": failed_step,
        "reason": reason,
        "resume": run.resume,
        "finished": finished,
        "model": _model(run) if outcome == REGISTERED else None,
        "report": run.uri_of(run_records.report_key(run.run_id)),
    }


def _verdict(run: Run) -> tuple[str, int, str | None, str | None]:
    """Return the outcome, the exit code, the first step in the DAG's order that stopped the run, and the reason."""
    looked = run_records.read_step(run.store, run.run_id, LOOK)
    for name in (LOOK, *STEPS) if looked else STEPS:
        record = looked if name == LOOK else run.steps.get(name)
        if record is None:
            idle = retraining.nothing_to_do(run.store, run.run_id)
            if idle:
                return IDLE, 0, None, idle
            return FAILED, 1, name, why.told_in_a_pod(run.run_id, name) or "it did not start"
        if record.status == "running":
            return FAILED, 1, name, why.told_in_a_pod(run.run_id, name) or KILLED
        if record.status in ("failed", "cancelled"):
            return _failure(record)
        if name == "evaluation":
            missed = _missed_gate(run)
            if missed:
                return missed
    return REGISTERED, 0, None, None


def _why_cancelled(record: run_records.StepRecord | None, cancelled: Cancellation) -> str:
    """Return by whom the run was cancelled, and what the step that it was in says besides."""
    problem = record.problem if record else None
    if record is None or problem is None:
        return str(cancelled)
    return problem.message if record.status == "cancelled" else f"{cancelled}; before: {problem.message}"


def _failure(record: run_records.StepRecord) -> tuple[str, int, str, str]:
    problem = record.problem or run_records.Problem(kind="bug", message="it failed and did not say why")
    if problem.kind == "gate":
        return GATE_FAILED, 3, record.name, problem.message
    return FAILED, problem.exit_code or 1, record.name, problem.message


def _missed_gate(run: Run) -> tuple[str, int, str, str] | None:
    """Return why the model may not be registered, or None if it may."""
    evaluation = run.manifest("evaluation.evaluation")
    if evaluation is None:
        return FAILED, 1, "evaluation", "it finished but its manifest is no longer in the store"
    if evaluation.info.get("passed") is not False:
        return None
    gate = parse_json(run.entry(evaluation, "gate.json")) or {}
    missed = [explain_missed(check) for check in gate.get("checks", []) if not check.get("passed")]
    decision = evaluation.info.get("decision") or {}
    missed += [decision["reason"]] if decision.get("passed") is False else []
    return GATE_FAILED, 3, "evaluation", "; ".join(missed) or "the model missed its thresholds"


def explain_missed(check: dict[str, Any]) -> str:
    """Return a missed gate check in words: the metric, its value and the bound."""
    metric, value, least, most = (check.get(k) for k in ("metric", "value", "min", "max"))
    if check.get("baseline"):
        end = least if most is None else most
        if interval := check.get("better_by"):
            return (
                f"{metric} is {value:.6g}, not shown to be better than {check['baseline']}: {end:.6g}; it is better by "
                f"{interval[0]:+.3g} to {interval[1]:+.3g} with 95% confidence"
            )
        return f"{metric} is {value:.6g}, no better than {check['baseline']}: {end:.6g}"
    if not isinstance(value, int | float):
        return f"{metric} was not measured"
    if least is not None and not value >= least:
        return f"{metric} is {value:.6g}, below the minimum of {least:.6g}"
    if most is not None and not value <= most:
        return f"{metric} is {value:.6g}, above the maximum of {most:.6g}"
    return f"{metric} is {value:.6g} and did not pass"


def explain_kept(check: dict[str, Any]) -> str:
    """Return a passed gate check in words: the metric, its value and, in parentheses, the bounds."""
    metric, value, least, most = (check.get(k) for k in ("metric", "value", "min", "max"))
    ends = [f"{word} {end:.4g}" for word, end in (("at least", least), ("at most", most)) if end is not None]
    if check.get("baseline"):
        ends = [f"better than {check['baseline']}, {least if most is None else most:.4g}"]
        if interval := check.get("better_by"):
            ends[0] += f", by {interval[0]:.3g} to {interval[1]:.3g} with 95% confidence"
    return f"{metric} {value:.4g} ({' and '.join(ends)})"


def _model(run: Run) -> dict[str, Any] | None:
    registration = run.manifest("registration.registration")
    if registration is None:
        return None
    name, version = registration.info["name"], registration.info["version"]
    return {"name": name, "version": version, "alias": _alias(run, name, version)}


def _alias(run: Run, name: str, version: str) -> str | None:
    """Return the version's aliases as the registry has them now: it may have lost one since it was registered.

    A registry that does not answer must not hide the outcome: then the step's own record counts.
    """
    try:
        aliases = ", ".join(tracking.aliases(run.store, name, version))
    except Exception as error:
        log.warning("the alias is as registration left it: %s", tracking.redact(one_line(error)))
        aliases = str(run.steps["registration"].metrics.get("alias") or "")
    return aliases or None
