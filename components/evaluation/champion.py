"""The comparison of a model with the champion, from the rows that the champion's own evaluation has left."""

from typing import Any

from modelmill.champion import champion_state
from modelmill.champion.comparison import decide_between
from modelmill.champion.comparison.decision import Decision
from modelmill.core.errors import CorruptError
from modelmill.recipe.step_specs import CORPUS, FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest


def settings(step: Step) -> dict[str, Any] | None:
    """Return the comparison's settings with metric, measure and seed, or None where the recipe wants none."""
    recipe = step.recipe
    if recipe.evaluation.comparison is None:
        return None
    tuned = step.inputs[FINE_TUNED].info
    is_fine_tuned = tuned["trained"] and tuned["stage"] == "fine_tuning"
    metric = recipe.metric(is_fine_tuned, step.inputs[CORPUS].info)
    chosen = recipe.evaluation.comparison.model_dump() | {"metric": metric, "seed": recipe.seed}
    return chosen | {"measure": recipe.measures[metric]._asdict()}


def compare(step: Step, evaluation: Manifest) -> Decision:
    """Decide whether the model may take the champion's place; it may where there is none, and where it is the champion.

    Args:
        step: The running step.
        evaluation: The model's evaluation, with its rows in the store.

    Raises:
        CorruptError: The champion's evaluation is not whole in the store.
    """
    model = step.recipe.registration.model
    champion = champion_state.read(step.store, model).champion
    if evaluation.info["comparison"] is None:
        return _passed("not compared", "The recipe asks for no comparison: the thresholds alone decide.")
    if champion is None:
        return _passed("no champion yet", f"{model} has no champion yet: the thresholds alone decide.")
    if champion.model == step.inputs[FINE_TUNED].digest:
        return _passed("the champion itself", f"The model is the champion, version {champion.version}.")
    try:
        its = manifest.load(step.store, champion.evaluation)
        decision = decide_between(step.store, evaluation, its, evaluation.info["comparison"])
    except CorruptError as error:
        raise CorruptError(
            f"the champion, {model} version {champion.version}, cannot be compared with: {error}; "
            f"promote a version whose evaluation is whole, or set evaluation.comparison: none"
        ) from error
    return decision | {"champion": champion.model_dump()}


def log_refusal(step: Step, evaluation: Manifest, gate: dict[str, Any]) -> None:
    """Write into the log of decisions that the model is not registered, and why.

    Args:
        step: The running step.
        evaluation: The model's evaluation with its decision.
        gate: The gate with its checks.
    """
    decision = evaluation.info["decision"]
    missed = [check["metric"] for check in gate["checks"] if not check["passed"]]
    why = [f"It missed its thresholds: {', '.join(missed)}."] if missed else []
    why += [] if decision["passed"] else [decision["reason"]]
    model = step.inputs[FINE_TUNED].digest
    numbers = decision["numbers"] | {"metrics": evaluation.info["metrics"]}
    champion_state.refuse(step.store, step.recipe.registration.model, model, evaluation.digest, " ".join(why), numbers)


def _passed(verdict: str, reason: str) -> Decision:
    return {"passed": True, "verdict": verdict, "reason": reason, "numbers": {}, "slices": []}
