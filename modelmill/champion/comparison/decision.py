"""The decision whether a challenger may take the champion's place."""

from typing import Any

import numpy as np

from modelmill.champion.comparison import rows
from modelmill.champion.comparison.bootstrap import paired
from modelmill.champion.comparison.rows import ExampleValues
from modelmill.champion.held_out import what_differs
from modelmill.recipe.measure import Measure
from modelmill.store import Store
from modelmill.store.manifest import Manifest

Decision = dict[str, Any]
Settings = dict[str, Any]


def decide_between(store: Store, challenger: Manifest, champion: Manifest, settings: Settings) -> Decision:
    """Compare two evaluations on the examples that both have measured.

    Args:
        store: Store with the evaluations' rows.
        challenger: Evaluation of the challenger.
        champion: Evaluation of the champion.
        settings: Settings of `evaluation.comparison`, with the metric, its measure and the seed.

    Returns:
        `passed`; `verdict`, a word or two; `reason`, a paragraph for a person; `numbers`; and `slices`, one entry each.

    Raises:
        CorruptError: The rows of an evaluation are not in the store.
    """
    if differs := what_differs(challenger.info.get("held_out", {}), champion.info.get("held_out", {})):
        return _refused("cannot be compared", f"The champion was measured differently: {differs}.")
    measure = Measure(**settings["measure"])
    mine, its = (rows.read(store, evaluation, measure) for evaluation in (challenger, champion))
    return decide(mine, its, settings)


def decide(challenger: ExampleValues, champion: ExampleValues, settings: Settings) -> Decision:
    """Compare two models by their values of a metric; examples that one of them lacks are left out.

    Args:
        challenger: Values of the challenger.
        champion: Values of the champion.
        settings: As `decide_between`.

    Returns:
        As `decide_between`.
    """
    _, places, its_places = np.intersect1d(
        challenger.examples.astype(str), champion.examples.astype(str), return_indices=True
    )
    mine, its = challenger.chosen(places), champion.chosen(its_places)
    minimum = settings["minimum"]
    if len(places) < minimum:
        reason = (
            f"Not enough evidence: {len(places)} held-out examples were measured for both models, and "
            f"evaluation.comparison.minimum is {minimum}."
        )
        passed = settings["too_few"] == "thresholds"
        reason += " As evaluation.comparison.too_few says, the thresholds alone decide." if passed else ""
        return _refused("not enough evidence", reason, len(places)) | {"passed": passed}
    compared = _compare(mine, its, settings, settings["confidence"])
    slices = _slices(mine, its, settings)
    lost = [name for name, one in slices.items() if one["lost"]]
    verdict, passed = _verdict(compared, settings)
    if passed and lost:
        verdict, passed = "worse in a slice", False
    numbers = compared | {"metric": settings["metric"], "confidence": settings["confidence"], "examples": len(places)}
    return {
        "passed": passed,
        "verdict": verdict,
        "reason": _in_words(numbers, settings, verdict, slices, lost),
        "numbers": numbers,
        "slices": [{"slice": name, **one} for name, one in slices.items()],
    }


def _refused(verdict: str, reason: str, examples: int = 0) -> Decision:
    return {"passed": False, "verdict": verdict, "reason": reason, "numbers": {"examples": examples}, "slices": []}


def _compare(mine: ExampleValues, its: ExampleValues, settings: Settings, confidence: float) -> dict[str, float]:
    """Return both values, and the interval of how much better the challenger is, in the metric's own unit."""
    sign = 1.0 if settings["measure"]["higher_is_better"] else -1.0
    better = sign * (mine.values - its.values)
    interval = paired(better, its.weights, confidence, settings["resamples"], settings["seed"])
    champion = float(its.values.sum() / its.weights.sum())
    return {
        "champion": champion,
        "challenger": champion + sign * interval.estimate,
        "better_by": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "margin": settings["margin"] * abs(champion),
    }


def _verdict(compared: dict[str, float], settings: Settings) -> tuple[str, bool]:
    if compared["low"] > 0:
        return "better", True
    if settings["rule"] == "superior":
        return "not shown to be better", False
    if compared["low"] >= -compared["margin"]:
        return "not worse", True
    return ("worse" if compared["high"] < 0 else "not shown to be as good"), False


def _slices(mine: ExampleValues, its: ExampleValues, settings: Settings) -> dict[str, dict[str, Any]]:
    """Compare the models in each slice that is large enough.

    A slice is lost where the challenger is worse by more than the margin. The confidence is Bonferroni's for the number
    of slices: with no true loss anywhere, it is rare that any slice is lost.
    """
    members: dict[str, list[int]] = {}
    for place, names in enumerate(mine.slices):
        for name in names:
            members.setdefault(name, []).append(place)
    large = {name: np.array(places) for name, places in sorted(members.items()) if len(places) >= settings["minimum"]}
    confidence = 1 - (1 - settings["confidence"]) / max(1, len(large))
    compared = {}
    for name, places in large.items():
        one = _compare(mine.chosen(places), its.chosen(places), settings, confidence)
        margin = settings["slice_margin"] * abs(one["champion"])
        compared[name] = one | {"margin": margin, "examples": len(places), "lost": one["high"] < -margin}
    return compared


def _in_words(
    numbers: dict[str, Any], settings: Settings, verdict: str, slices: dict[str, dict[str, Any]], lost: list[str]
) -> str:
    what = f"{numbers['metric']} is {numbers['challenger']:.4g}, the champion's {numbers['champion']:.4g}"
    interval = f"{numbers['low']:+.3g} to {numbers['high']:+.3g} with {numbers['confidence']:.0%} confidence"
    better = "better" if numbers["better_by"] >= 0 else "worse"
    text = (
        f"The challenger is {verdict}: its {what}, on {numbers['examples']:,} held-out examples. It is {better} by "
        f"{abs(numbers['better_by']):.3g} (by paired bootstrap, better by {interval})"
    )
    asked = {
        "superior": "; that must lie above 0.",
        "non_inferior": f"; that must not reach below {-numbers['margin']:+.3g}.",
    }
    text += asked[settings["rule"]]
    for name in lost:
        one = slices[name]
        text += f" In the slice {name} it is worse by {-one['better_by']:.3g}, at most {one['margin']:.3g} is allowed."
    return text
