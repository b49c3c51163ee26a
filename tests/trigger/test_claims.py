"""One run for a recipe and its data, whoever asks, how often and where, and whatever happens to the holder."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelmill import recipe as recipes
from modelmill.core.errors import UserError
from modelmill.pipelines.trigger import claims
from modelmill.pipelines.trigger.asking import Starter
from modelmill.pipelines.trigger.claims import Asker, Claim
from modelmill.pipelines.trigger.cool_down import CoolingDown
from modelmill.recipe import Recipe
from modelmill.store import Store, open_store
from tests.cli import ROOT
from tests.recipes import write_table
from tests.trigger.replicas import Runs

ANN = Asker(by="ann", kind="manual", reason="new rows")
POLL = Asker(by="reconciler", kind="poll", reason="changed")

# Holds the claim and the cool-down, and is gone before it has a run.
DIES = """
import os, sys
from modelmill import recipe as recipes
from modelmill.store import open_store
from modelmill.pipelines.trigger.asking import Starter
from modelmill.pipelines.trigger.claims import Asker
starter = Starter(open_store(sys.argv[1]), lambda *asked: os._exit(9), lambda run_id: "running", 3600)
starter.ask(recipes.from_json(sys.argv[2]), Asker(by="ann", kind="manual", reason="new rows"))
"""


def claim_of(store: Store, recipe: Recipe) -> Claim:
    found = claims.find(store, claims.wanted(recipe, store).key)
    assert found is not None
    return found[0]


def set_claim(store: Store, recipe: Recipe, **update: object) -> None:
    key = claims.wanted(recipe, store).key
    store.put(claims.key_of(key), claim_of(store, recipe).model_copy(update=update).model_dump_json().encode())


def test_many_askers_of_several_replicas_get_one_run_and_are_all_recorded(
    store_uri: str, recipe: Recipe, runs: Runs
) -> None:
    replicas = [runs.starter(store_uri, 3600) for _ in range(3)]
    runs.seconds = 0.2

    def ask(number: int) -> str:
        asker = Asker(by=f"asker {number}", kind="event", reason=f"shard {number}")
        return replicas[number % 3].ask(recipe, asker).result

    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(ask, range(12)))
    assert len(runs.submitted) == 1
    assert sorted(results) == ["deduplicated"] * 11 + ["started"]
    claim = claim_of(open_store(store_uri), recipe)
    assert claim.run_id == "run-1"
    assert {asker.by for asker in claim.askers} == {f"asker {n}" for n in range(12)}


def test_the_run_is_told_who_asked_and_why(folder_uri: str, recipe: Recipe, runs: Runs) -> None:
    runs.starter(folder_uri).ask(recipe, Asker(by="bob", kind="drift", reason="psi of width is 0.4"))
    assert runs.submitted == [("tiny-table", "bob", "drift: psi of width is 0.4")]


def test_other_data_or_another_recipe_is_another_run(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    starter = runs.starter(folder_uri)
    results = [starter.ask(recipe, ANN).result]
    results.append(starter.ask(recipe.model_copy(update={"seed": 2}), ANN).result)
    write_table(tmp_path / "data", rows=202)
    results += [starter.ask(recipe, ANN).result, starter.ask(recipe, ANN).result]
    assert results == ["started", "started", "started", "deduplicated"]


def test_a_claim_keeps_a_bounded_number_of_askers(
    folder_uri: str, recipe: Recipe, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MOST_ASKERS", 3)
    starter = runs.starter(folder_uri)
    for number in range(5):
        starter.ask(recipe, ANN.model_copy(update={"by": str(number)}))
    assert [asker.by for asker in claim_of(starter.store, recipe).askers] == ["0", "1", "2"]


def test_a_claim_whose_holder_died_is_taken_over_by_one(store_uri: str, recipe: Recipe, runs: Runs) -> None:
    starter = runs.starter(store_uri, 3600)

    killed = subprocess.run([sys.executable, "-c", DIES, store_uri, recipes.to_json(recipe)], cwd=ROOT, check=False)
    assert killed.returncode == 9
    assert starter.ask(recipe, ANN).result == "deduplicated"
    set_claim(starter.store, recipe, since=time.time() - claims.HOLDER_SECONDS - 1)
    with ThreadPoolExecutor(4) as pool:
        results = [answer.result for answer in pool.map(lambda _: starter.ask(recipe, POLL), range(4))]
    assert results.count("started") == len(runs.submitted) == 1
    after = claim_of(starter.store, recipe)
    assert (after.run_id, after.attempt) == ("run-1", 2)


def test_a_slow_holder_does_not_write_over_the_one_that_took_over(folder_uri: str, recipe: Recipe, runs: Runs) -> None:
    starter = runs.starter(folder_uri)
    want = claims.wanted(recipe, starter.store)
    slow = claims.take(starter.store, want, ANN, None)
    assert slow is not None
    set_claim(starter.store, recipe, since=0.0)
    assert starter.ask(recipe, POLL).run_id == "run-1"
    assert not claims.complete(starter.store, want.key, slow, "run-of-the-slow")
    assert claim_of(starter.store, recipe).run_id == "run-1"


def test_a_submission_that_fails_leaves_claim_and_cool_down_to_the_next(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    starter = runs.starter(folder_uri, 3600)

    def refuse(recipe: Recipe, asker: Asker) -> str:
        raise UserError("kfp: the token has expired")

    with pytest.raises(UserError, match="expired"):
        Starter(starter.store, refuse, runs.state_of, 3600).ask(recipe, ANN)
    write_table(tmp_path / "data", rows=202)
    assert starter.ask(recipe, ANN).result == "started"
    write_table(tmp_path / "data", rows=200)
    assert starter.ask(recipe, ANN, force=True).result == "started"


@pytest.mark.parametrize(
    ("state", "asker", "force", "result"),
    [
        ("running", ANN, True, "deduplicated"),
        ("succeeded", ANN, True, "deduplicated"),
        ("failed", ANN, False, "started"),
        ("failed", POLL, False, "deduplicated"),
        ("refused", ANN, False, "deduplicated"),
        ("refused", ANN, True, "started"),
    ],
)
def test_only_a_run_that_failed_is_asked_for_again(
    folder_uri: str, recipe: Recipe, runs: Runs, state: str, asker: Asker, force: bool, result: str
) -> None:
    starter = runs.starter(folder_uri)
    starter.ask(recipe, ANN)
    runs.states["run-1"] = state  # type: ignore[assignment]
    assert starter.ask(recipe, asker, force).result == result
    assert len(runs.submitted) == (2 if result == "started" else 1)


def test_a_recipe_cools_down_and_force_begins_anyway(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    starter = runs.starter(folder_uri, 3600)
    starter.ask(recipe, ANN)
    write_table(tmp_path / "data", rows=202)
    with pytest.raises(CoolingDown, match=r"tiny-table: cooling down with run run-1, 3[56]\d\d s are left.*--force"):
        starter.ask(recipe, ANN)
    assert len(runs.submitted) == 1
    assert starter.ask(recipe, ANN, force=True).result == "started"
    other = recipe.model_copy(update={"name": "another"})
    assert starter.ask(other, ANN).result == "started"


def test_of_two_states_of_the_data_at_once_one_run_begins(store_uri: str, recipe: Recipe, runs: Runs) -> None:
    starter = runs.starter(store_uri, 3600)
    runs.seconds = 0.1

    def ask(number: int) -> str:
        try:
            return starter.ask(recipe.model_copy(update={"seed": number}), ANN).result
        except CoolingDown:
            return "cool_down"

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(ask, range(4)))
    assert sorted(results) == ["cool_down"] * 3 + ["started"]
    assert len(runs.submitted) == 1
