"""The rules of promotion: from evaluations, or by a person. Each decision is one swap of the model's state."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from modelmill.champion import champion_state
from modelmill.champion.champion_state import NOBODY, Candidate, Decision, Standing, decision
from modelmill.core.errors import CorruptError, UserError
from modelmill.recipe.step_specs import CHAMPION
from modelmill.store import Store, manifest
from modelmill.store.manifest import Manifest

# `passed`, `reason` in words, and the `numbers` that it rests on.
Verdict = dict[str, Any]
Judge = Callable[[Candidate], Verdict]
PASSED: Verdict = {"passed": True, "reason": "it passed its evaluation"}


class Settled(NamedTuple):
    """The state after a decision, and the decision; None where there was nothing left to decide."""

    standing: Standing
    decision: Decision | None


def promote(
    store: Store, model: str, candidate: Candidate, judge: Judge | None = None, is_new: bool = False
) -> Settled:
    """Make a verified version the champion if it has earned it, else the challenger.

    Its evaluation has compared it with the champion of that time. If another version has won meanwhile, it is compared
    with that one. A version that became the champion once by its evaluation does not become it again: later decisions
    stand.

    Args:
        store: Store with evaluations and state.
        model: Name of the registered model.
        candidate: The version.
        judge: Comparison of the candidate with a champion; by default, of the rows of their evaluations.
        is_new: Whether no earlier attempt can have decided about this version.

    Raises:
        CorruptError: An evaluation or the log of decisions is not whole in the store.
    """
    evaluation = manifest.load(store, candidate.evaluation)
    judged = _Judged(evaluation, candidate, judge or partial(_compare, store, evaluation))
    has_won = not is_new and _has_won(store, model, candidate)

    def decide(now: Standing) -> tuple[Standing, Decision] | None:
        champion = now.champion
        if champion is None:
            return _crowned(now, candidate), decision("promoted", candidate, "there was no champion", None)
        if has_won or champion.version == candidate.version or now.challenger == candidate:
            return None
        if candidate.version in now.withdrawn or candidate.model in now.withdrawn_models:
            reason = (
                f"it was rolled back from; modelmill promote {model} {candidate.version} makes it the champion again"
            )
            return _turned_down(now, candidate), decision("registered", candidate, reason, champion)
        verdict = judged(champion)
        reason, numbers = verdict.get("reason") or PASSED["reason"], verdict.get("numbers") or {}
        if not verdict["passed"]:
            return _turned_down(now, candidate), decision("refused", candidate, reason, champion, numbers=numbers)
        return _crowned(now, candidate), decision("promoted", candidate, reason, champion, numbers=numbers)

    return _change(store, model, decide)


def appoint(store: Store, model: str, candidate: Candidate, reason: str) -> Settled:
    """Make a version the champion because a person says so, even one that was rolled back from.

    Args:
        store: Store with the state.
        model: Name of the registered model.
        candidate: The version.
        reason: Why, in words.
    """

    def decide(now: Standing) -> tuple[Standing, Decision] | None:
        if now.champion is not None and now.champion.version == candidate.version:
            return None
        return _restored(_crowned(now, candidate), candidate), decision("promoted", candidate, reason, now.champion)

    return _change(store, model, decide)


def roll_back(store: Store, model: str, seen: Standing, to: Candidate, reason: str) -> Settled:
    """Replace the champion by another version because a person says so, and keep the replaced one from coming back.

    Args:
        store: Store with the state.
        model: Name of the registered model.
        seen: State that the person has seen.
        to: Version that becomes the champion.
        reason: Why, in words.

    Raises:
        UserError: Another version is the champion by now.
    """
    withdrawn = seen.champion
    assert withdrawn is not None and withdrawn.version != to.version
    previous = _before(store, model, seen, to)

    def decide(now: Standing) -> tuple[Standing, Decision]:
        if now.champion != withdrawn:
            is_now = now.champion.version if now.champion else NOBODY
            raise UserError(
                f"{model}: the champion is version {is_now} by now, no longer {withdrawn.version}; "
                f"look with modelmill registry show {model} and decide again"
            )
        after = now.model_copy(
            update={
                "champion": to,
                "challenger": None,
                "previous": previous,
                "withdrawn": _with(now.withdrawn, withdrawn.version),
                "withdrawn_models": _with(now.withdrawn_models, withdrawn.model),
            }
        )
        return _restored(after, to), decision("rolled back", to, reason, withdrawn)

    return _change(store, model, decide)


class _Judged:
    """Verdicts on a candidate, one for each champion: the state may also change for other reasons."""

    def __init__(self, evaluation: Manifest, candidate: Candidate, judge: Judge) -> None:
        self._evaluation, self._candidate, self._judge = evaluation, candidate, judge
        self._verdicts: dict[Candidate, Verdict] = {}

    def __call__(self, champion: Candidate) -> Verdict:
        if champion not in self._verdicts:
            self._verdicts[champion] = self._decide(champion)
        return self._verdicts[champion]

    def _decide(self, champion: Candidate) -> Verdict:
        decided = self._evaluation.info.get("decision") or PASSED
        wants_none = self._evaluation.info.get("comparison") is None
        if wants_none or _compared(self._evaluation, decided) == champion.digest:
            return decided
        if champion.model == self._candidate.model:
            return {"passed": True, "reason": f"it is the same model as the champion, version {champion.version}"}
        return self._judge(champion)


def _compared(evaluation: Manifest, decided: Verdict) -> str:
    """Return the digest of the champion of the comparison: the one it names, else the one when evaluation began."""
    if named := decided.get("champion"):
        return Candidate.model_validate(named).digest
    return evaluation.made_from.get(CHAMPION, NOBODY)


def _compare(store: Store, evaluation: Manifest, champion: Candidate) -> Verdict:
    from modelmill.champion.comparison import decide_between

    its = manifest.load(store, champion.evaluation)
    verdict: Verdict = decide_between(store, evaluation, its, evaluation.info["comparison"])
    return verdict


def _has_won(store: Store, model: str, candidate: Candidate) -> bool:
    return any(
        entry.what in ("promoted", "rolled back") and entry.candidate == candidate
        for _, entry in champion_state.history(store, model)
    )


def _before(store: Store, model: str, seen: Standing, to: Candidate) -> Candidate | None:
    """Return the champion before `to`, which a second rollback would go back to.

    A damaged log does not keep a person from rolling back.
    """
    champions: list[Candidate] = []
    try:
        for _, entry in champion_state.history(store, model):
            if entry.what in ("promoted", "rolled back") and entry.candidate is not None:
                champions.append(entry.candidate)
    except CorruptError:
        return None
    versions = [champion.version for champion in champions]
    older = champions[versions.index(to.version) + 1 :] if to.version in versions else champions
    gone = {*seen.withdrawn, to.version, seen.champion.version if seen.champion else None}
    return next((champion for champion in older if champion.version not in gone), None)


def _crowned(now: Standing, candidate: Candidate) -> Standing:
    return now.model_copy(update={"champion": candidate, "challenger": None, "previous": now.champion or now.previous})


def _turned_down(now: Standing, candidate: Candidate) -> Standing:
    return now.model_copy(update={"challenger": candidate})


def _restored(after: Standing, candidate: Candidate) -> Standing:
    """Take a candidate off the withdrawn ones, because a person has decided for it."""
    return after.model_copy(
        update={
            "withdrawn": tuple(version for version in after.withdrawn if version != candidate.version),
            "withdrawn_models": tuple(model for model in after.withdrawn_models if model != candidate.model),
        }
    )


def _with(values: tuple[str, ...], value: str) -> tuple[str, ...]:
    return values if value in values else (*values, value)


def _change(store: Store, model: str, decide: champion_state.Change) -> Settled:
    decided: Decision | None = None

    def remember(now: Standing) -> tuple[Standing, Decision] | None:
        nonlocal decided
        change = decide(now)
        decided = change[1] if change else None
        return change

    return Settled(champion_state.change(store, model, remember), decided)
