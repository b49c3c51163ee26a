"""Eight processes promote at once, over thirty rounds: one champion, and never a worse one over a better one."""

from modelmill.champion import champion_state
from modelmill.store import Store
from tests.store.processes import in_processes
from tests.store.promotions import MODEL, race, score_of

PROCESSES, ROUNDS = 8, 30


def test_of_many_who_promote_at_once_the_best_is_the_champion(store: Store) -> None:
    won = in_processes(PROCESSES, race, store.uri, ROUNDS)
    assert sorted(won) == list(range(PROCESSES))
    assert not any(-1 in versions for versions in won.values()), "a worse version was the champion"
    entries = [entry for _, entry in champion_state.history(store, MODEL)][::-1]
    # Every candidate was decided about once, and every decision is in the log.
    assert sorted(int(entry.version or -1) for entry in entries) == sorted(
        int(f"{me}{number:03d}") for me in range(PROCESSES) for number in range(ROUNDS)
    )
    promoted = [entry for entry in entries if entry.what == "promoted"]
    assert sorted(int(entry.version or -1) for entry in promoted) == sorted(v for vs in won.values() for v in vs)
    # Each took the place of the one before, and was better.
    assert [entry.against for entry in promoted] == [None, *(entry.version for entry in promoted[:-1])]
    candidates = [entry.candidate for entry in promoted]
    scores = [score_of(store, candidate) for candidate in candidates if candidate is not None]
    assert len(scores) == len(promoted) > 1 and scores == sorted(scores)
    now = champion_state.read(store, MODEL)
    assert (now.champion, now.previous) == (candidates[-1], candidates[-2])
    every = [entry.candidate for entry in entries]
    assert scores[-1] == max(score_of(store, candidate) for candidate in every if candidate is not None)
