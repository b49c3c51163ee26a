"""The head of the report: what was decided, why, and the command that goes on from there."""

from typing import Any

from modelmill.components.reporting.evidence import Run, parse_json
from modelmill.components.reporting.outcome import REGISTERED, explain_kept

# What registration says of a version, by the word that the log of decisions has for it.
_DECISIONS = {"promoted": "Promoted to champion", "registered": "Not promoted", "refused": "Not promoted"}


def conclude(run: Run, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return the title, the reasons, most important first, and the advice that comes before the command.

    Args:
        run: The evidence that the run left in the store.
        outcome: The document of `outcome.json`.
    """
    if outcome["outcome"] == REGISTERED:
        return {"title": _registered(outcome["model"]), "reasons": _why_registered(run), "advice": ""}
    return {"title": _stopped(outcome), "reasons": [outcome["reason"]], "advice": _advice(outcome["exit_code"])}


def _registered(model: dict[str, Any] | None) -> str:
    if model is None:
        return "The model is registered"
    alias = f", alias {model['alias']}" if model["alias"] else ""
    return f"{model['name']} version {model['version']}{alias}"


def _why_registered(run: Run) -> list[str]:
    """Return why the version became the champion or did not, then how it passed its gate."""
    registration = run.steps["registration"].metrics
    evaluation = run.manifest("evaluation.evaluation")
    decided = _DECISIONS.get(str(registration.get("decision")))
    # Registration decides nothing about a version that an earlier try has decided on.
    compared = (evaluation.info.get("decision") or {}) if evaluation else {}
    why = f"{decided}: {registration.get('why')}" if decided else compared.get("reason")
    gate = parse_json(run.entry(evaluation, "gate.json")) or {}
    kept = "; ".join(explain_kept(check) for check in gate.get("checks", []))
    return [reason for reason in (why, f"The gate passed: {kept}." if kept else "") if reason]


def _stopped(outcome: dict[str, Any]) -> str:
    where = f" in {outcome['failed_step']}" if outcome["failed_step"] else ""
    return f"Why it stopped{where}" if outcome["exit_code"] else "Why nothing was done"


def _advice(exit_code: int) -> str:
    if not exit_code:
        return ""
    begin = "Put that right, then" if exit_code in (2, 3) else "To go on from here,"
    return f"{begin} run (finished steps are found and not run again):"
