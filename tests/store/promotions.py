"""Candidates with a score, promoted by several processes. What this module imports, each process imports."""

import random
from typing import Any

from modelmill.champion import champion_state, promotion
from modelmill.champion.champion_state import Candidate
from modelmill.champion.promotion import Settled, Verdict
from modelmill.store import Store, manifest
from modelmill.store.manifest import Manifest

MODEL = "racers"


def evaluated(store: Store, version: str, score: float, compared: Candidate | None, note: str = "") -> Candidate:
    """A candidate whose evaluation has compared it with a champion, in the way that the evaluation step does."""
    passed = compared is None or score > score_of(store, compared)
    evaluation = Manifest(
        kind="evaluation",
        made_from={"source.champion": compared.digest if compared else champion_state.NOBODY, "note": note},
        info={
            "passed": True,
            "metrics": {"score": score},
            "comparison": {"metric": "score"},
            "decision": {"passed": passed, "reason": "then", "numbers": {"score": score}},
        },
    )
    return Candidate(version=version, model=f"model {version}", evaluation=manifest.save(store, evaluation))


def score_of(store: Store, candidate: Candidate) -> float:
    return float(manifest.load(store, candidate.evaluation).info["metrics"]["score"])


def promote(store: Store, candidate: Candidate, is_new: bool = True) -> Settled:
    """Promote a candidate; against a champion that it was not compared with, the higher score wins."""

    def judge(champion: Candidate) -> Verdict:
        return {"passed": score_of(store, candidate) > score_of(store, champion), "reason": "now"}

    return promotion.promote(store, MODEL, candidate, judge, is_new)


def race(store: Store, me: int, rounds: int, start: Any) -> list[int]:
    """Promote a candidate a round, all processes at once; the versions that won, or -1 where a worse one stood then."""
    won = []
    for number in range(rounds):
        score = random.Random(f"{me} {number}").random()
        start.wait(60)
        champion = champion_state.read(store, MODEL).champion
        candidate = evaluated(store, f"{me}{number:03d}", score, champion)
        start.wait(60)
        settled = promote(store, candidate)
        after = champion_state.read(store, MODEL).champion
        if after is None or score_of(store, after) < score:
            won.append(-1)
        if settled.decision is not None and settled.decision.what == "promoted":
            won.append(int(candidate.version))
    return won
