"""Who is the champion after which decision, and the log of them."""

import json
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmill.champion import champion_state, promotion
from modelmill.champion.champion_state import Candidate, Standing
from modelmill.champion.promotion import Verdict
from modelmill.core.errors import CorruptError, UserError
from modelmill.store import Store, blobs, manifest, open_store
from modelmill.store.manifest import Manifest
from tests.store.promotions import MODEL, evaluated, promote


def now(store: Store) -> Standing:
    return champion_state.read(store, MODEL)


def champion(store: Store) -> Candidate | None:
    return now(store).champion


def roles(store: Store) -> tuple[str | None, ...]:
    """The versions of champion, challenger and previous."""
    found = now(store)
    return tuple(one.version if one else None for one in (found.champion, found.challenger, found.previous))


def log(store: Store) -> list[tuple[str, str | None, str | None]]:
    """What, which version, against which; the first decision first."""
    return [(entry.what, entry.version, entry.against) for _, entry in champion_state.history(store, MODEL)][::-1]


def climb(store: Store, *scores: int) -> list[Candidate]:
    """Versions 1, 2, ... of these scores, each compared with the champion of its time and promoted."""
    made = []
    for number, score in enumerate(scores, 1):
        made.append(evaluated(store, str(number), score, champion(store)))
        promote(store, made[-1])
    return made


def test_the_first_version_is_the_champion_and_the_one_compared_with_it_takes_its_place(store: Store) -> None:
    climb(store, 1, 2)
    assert roles(store) == ("2", None, "1")
    assert log(store) == [("promoted", "1", None), ("promoted", "2", "1")]


def test_a_promotion_rests_on_the_numbers_of_its_evaluation(store: Store) -> None:
    _, second = climb(store, 1, 2)
    digest, entry = next(champion_state.history(store, MODEL))
    assert digest == now(store).log
    assert (entry.reason, entry.numbers, entry.evidence) == ("then", {"score": 2}, second.evaluation)
    assert entry.candidate == second and entry.who


def test_one_that_its_evaluation_turned_down_is_the_challenger(store: Store) -> None:
    climb(store, 2, 1)
    assert roles(store) == ("1", "2", None)
    assert log(store)[-1] == ("refused", "2", "1")


@pytest.mark.parametrize(("score", "expected"), [(3, ("3", None, "2")), (1.5, ("2", "3", "1"))])
def test_who_loses_the_race_is_compared_with_the_new_champion(
    store: Store, score: float, expected: tuple[str | None, ...]
) -> None:
    (first,) = climb(store, 1)
    late = evaluated(store, "3", score, first)
    promote(store, evaluated(store, "2", 2, first))
    settled = promote(store, late)
    assert roles(store) == expected
    assert settled.decision is not None
    assert (settled.decision.reason, settled.decision.against) == ("now", "2")


def test_the_champion_is_judged_once_however_often_the_standing_changes(store: Store) -> None:
    first, second = climb(store, 1, 2)
    late = evaluated(store, "4", 3, first)
    judged = []

    def judge(other: Candidate) -> Verdict:
        judged.append(other.version)
        if len(judged) == 1:
            promote(store, evaluated(store, "3", 1, second))  # turned down, but the standing is another then
        return {"passed": True, "reason": "better"}

    promotion.promote(store, MODEL, late, judge)
    assert judged == ["2"]
    assert roles(store) == ("4", None, "2")


def test_the_champion_that_an_evaluation_names_is_the_one_it_was_compared_with(store: Store) -> None:
    """Another may have won between its beginning and its end."""
    first, second = climb(store, 1, 2)
    late = evaluated(store, "3", 1.5, first)
    began = manifest.load(store, late.evaluation)
    decision = began.info["decision"] | {"passed": False, "reason": "named", "champion": second.model_dump()}
    ended = began.model_copy(update={"info": began.info | {"decision": decision}})
    settled = promote(store, late.model_copy(update={"evaluation": manifest.save(store, ended)}))
    assert settled.decision is not None
    assert (settled.decision.what, settled.decision.reason) == ("refused", "named")


def test_nothing_is_decided_twice(store: Store) -> None:
    first, second = climb(store, 1, 2)
    third = evaluated(store, "3", 1.5, second)
    promote(store, third)
    before = log(store)
    # The champion, the challenger, and one that was champion once: with the very evaluations that were decided on.
    for candidate in (second, third, first):
        settled = promote(store, candidate, is_new=False)
        assert settled.decision is None and settled.standing == now(store)
    assert log(store) == before


def test_another_evaluation_decides_anew(store: Store) -> None:
    first, second = climb(store, 1, 2)
    promote(store, evaluated(store, first.version, 3, second, note="on other examples"), is_new=False)
    assert roles(store) == ("1", None, "2")


def test_a_recipe_that_wants_no_comparison_is_promoted_on_its_gate(store: Store) -> None:
    climb(store, 5)
    plain = Manifest(kind="evaluation", info={"passed": True, "metrics": {}})
    promote(store, Candidate(version="2", model="m", evaluation=manifest.save(store, plain)))
    assert roles(store) == ("2", None, "1")


def test_the_champions_own_model_needs_no_judge(store: Store) -> None:
    first, second = climb(store, 1, 2)
    again = evaluated(store, "3", 2, first).model_copy(update={"model": second.model})
    promotion.promote(store, MODEL, again, lambda _: pytest.fail("judged"))
    assert roles(store) == ("3", None, "2")


def test_a_rollback_restores_the_one_before_and_keeps_the_other_away(store: Store) -> None:
    first, second, third = climb(store, 1, 2, 3)
    promotion.roll_back(store, MODEL, now(store), second, "it is rude")
    assert roles(store) == ("2", None, "1")
    assert now(store).withdrawn == ("3",)
    # However good it is, in another evaluation, or registered again as another version.
    promote(store, evaluated(store, "3", 9, second, note="again"), is_new=False)
    assert roles(store) == ("2", "3", "1")
    promote(store, evaluated(store, "4", 9, second).model_copy(update={"model": third.model}))
    assert roles(store) == ("2", "4", "1")
    assert log(store)[-3:] == [("rolled back", "2", "3"), ("registered", "3", "2"), ("registered", "4", "2")]
    promotion.roll_back(store, MODEL, now(store), first, "so is this")
    assert roles(store) == ("1", None, None)
    # A person may.
    promotion.appoint(store, MODEL, third, "it has learned")
    assert roles(store) == ("3", None, "1")
    assert now(store).withdrawn == ("2",)
    assert now(store).withdrawn_models == (second.model,)


def test_two_persons_who_roll_back_at_once_do_it_once(store: Store) -> None:
    first, second, _ = climb(store, 1, 2, 3)
    seen = now(store)
    promotion.roll_back(store, MODEL, seen, second, "mine")
    with pytest.raises(UserError, match="the champion is version 2 by now, no longer 3"):
        promotion.roll_back(store, MODEL, seen, first, "mine, too")
    assert roles(store) == ("2", None, "1")


def test_a_person_makes_a_champion_of_any_version(store: Store) -> None:
    first, *_ = climb(store, 2, 1)
    promotion.appoint(store, MODEL, evaluated(store, "2", 1, first), "cheaper")
    assert roles(store) == ("2", None, "1")
    assert promotion.appoint(store, MODEL, evaluated(store, "2", 1, first), "again").decision is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["register", "register again", "roll back", "appoint"]), st.integers(1, 6)),
        min_size=1,
        max_size=14,
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_done_the_log_tells_the_standing(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"file://{folder}")
        known: list[Candidate] = []
        for what, number in steps:
            before = now(store)
            if what == "register":
                known.append(evaluated(store, str(len(known) + 1), number, before.champion))
                promote(store, known[-1])
            elif known and what == "register again":
                again = known[number % len(known)]
                promote(store, evaluated(store, again.version, number, before.champion), is_new=False)
                assert now(store).champion == before.champion or again.version not in before.withdrawn
            elif known and what == "appoint":
                promotion.appoint(store, MODEL, known[number % len(known)], "")
                assert champion(store) is not None
            elif before.champion and before.previous:
                promotion.roll_back(store, MODEL, before, before.previous, "")
                assert now(store).withdrawn[-1] == before.champion.version
        found = now(store)
        others = [one.version for one in (found.challenger, found.previous) if one]
        assert not found.champion or found.champion.version not in others
        assert not found.champion or found.champion.version not in found.withdrawn
        assert not found.previous or found.previous.version not in found.withdrawn
        entries = list(champion_state.history(store, MODEL))
        won = [entry.candidate for _, entry in entries if entry.what in ("promoted", "rolled back")]
        assert (won[0] if won else None) == found.champion


def test_claims_are_no_models(store: Store) -> None:
    climb(store, 1)
    store.put("registry/claims/0123.json", b"{}")
    assert champion_state.models(store) == [MODEL]


def digests(store: Store) -> list[str]:
    return [digest for digest, _ in champion_state.history(store, MODEL)]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_entry_that_was_changed_or_is_missing_is_named(store: Store, place: int) -> None:
    climb(store, 1, 2, 3)
    entry = digests(store)[place]
    key = blobs.key_of(entry)
    data = store.get(key)
    store.put(key, data.replace(b'"then"', b'"than"').replace(b"there was", b"there xas"))
    with pytest.raises(CorruptError, match=f"entry {entry} of the log of decisions"):
        digests(store)
    store.delete(key)
    with pytest.raises(CorruptError, match=f"entry {entry} of the log of decisions.*missing"):
        digests(store)
    store.put(key, data)
    assert len(digests(store)) == 3


def test_a_damaged_log_keeps_nobody_from_rolling_back(store: Store) -> None:
    _, second, _ = climb(store, 1, 2, 3)
    store.delete(blobs.key_of(digests(store)[-1]))
    promotion.roll_back(store, MODEL, now(store), second, "")
    assert roles(store) == ("2", None, None)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"champion": 3}', json.dumps({"crown": None}).encode()])
def test_a_damaged_standing_is_named(store: Store, data: bytes) -> None:
    store.put(f"registry/{MODEL}.json", data)
    with pytest.raises(CorruptError, match=f"registry/{MODEL}.json is damaged"):
        champion_state.read(store, MODEL)
