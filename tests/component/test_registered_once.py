"""One verified version of a result, whoever registers it, however often, and whoever is killed."""

import json
import random
import signal
import time
from pathlib import Path

import pytest

from modelmill import recipe as recipes
from modelmill.champion import champion_state
from modelmill.champion.champion_state import Candidate
from modelmill.core.errors import UserError
from modelmill.recipe import stored
from modelmill.runtime import external_inputs, tracking, weights
from tests.cli import wait_until
from tests.component.registrations import Case, Child, assert_whole, make_case, versions, written_by_child

pytestmark = pytest.mark.usefixtures("nothing_set")

# In the order in which a registration calls them.
KILLS = [
    "after:create_logged_model",
    "before:create_model_version",
    "after:create_model_version",
    "before:set_model_version_tag",
    "after:set_model_version_tag",
    "before:set_registered_model_alias",
    "after:set_registered_model_alias",
]


def test_the_same_key_again_is_the_same_version(language: Case, registry: str) -> None:
    first = language.run()
    language.forget()
    assert language.run(2).info == first.info
    assert_whole(language)
    with tracking.client(language.store) as client:
        everywhere = [experiment.experiment_id for experiment in client.search_experiments()]
        assert len(client.search_logged_models(everywhere, f"name = '{language.name}'")) == 1


def test_another_evaluation_of_the_same_model_is_the_same_version(table: Case) -> None:
    table.run()
    table.change("evaluation", metrics={"accuracy": 0.8})
    assert table.run(2).info["version"] == "1"
    assert_whole(table)
    (version,) = versions(table)
    assert version.tags["modelmill.evaluation"] == table.manifests["evaluation"].digest


@pytest.mark.parametrize("what", ["model", "dataset", "validation"])
def test_another_result_is_another_version(table: Case, what: str) -> None:
    table.run()
    table.change(what, note="another")
    assert table.run(2).info["version"] == "2"
    assert tracking.aliases(table.store, table.name, "2") == ["champion"]
    assert tracking.aliases(table.store, table.name, "1") == ["previous"]


def test_a_version_that_was_champion_once_does_not_take_the_place_back(language: Case) -> None:
    language.run()
    first = Path(language.arguments["model"]).read_bytes()
    language.change("model", steps=8)
    language.run(2)
    language.forget()
    Path(language.arguments["model"]).write_bytes(first)
    assert language.run(3).info["version"] == "1"
    assert tracking.aliases(language.store, language.name, "2") == ["champion"]


def champion_of(case: Case) -> Candidate:
    champion = champion_state.read(case.store, case.name).champion
    assert champion is not None
    return champion


def leave_unfinished(language: Case) -> None:
    """As a worker leaves a version that was killed before it had read it back."""
    with tracking.client(language.store) as client:
        client.delete_registered_model_alias(language.name, "champion")
        client.delete_model_version_tag(language.name, "1", "modelmill.verified")


def test_a_half_finished_version_is_completed(language: Case) -> None:
    language.run()
    leave_unfinished(language)
    with tracking.client(language.store) as client:
        client.delete_model_version_tag(language.name, "1", "modelmill.dataset")
    language.forget()
    language.run(2)
    assert_whole(language)
    (version,) = versions(language)
    assert version.tags["modelmill.dataset"] == language.manifests["dataset"].digest
    assert version.tags["modelmill.run_id"] == language.run_id(1)


def test_a_deleted_version_is_registered_again(language: Case) -> None:
    language.run()
    assert tracking.has_version(language.store, language.name, "1")
    with tracking.client(language.store) as client:
        client.delete_model_version(language.name, "1")
    assert not tracking.has_version(language.store, language.name, "1")
    assert language.run(2).info["version"] == "2"
    (version,) = versions(language)
    assert version.tags["modelmill.verified"] == "true"
    assert tracking.aliases(language.store, language.name, "2") == ["champion"]


def test_bytes_that_mlflow_does_not_give_back_get_no_alias(language: Case) -> None:
    language.run()
    leave_unfinished(language)
    (weights,) = (language.folder / "store" / "mlartifacts").rglob("model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    language.forget()
    with pytest.raises(SystemExit) as stopped:
        language.run(2)
    assert stopped.value.code == 1
    message = language.problem(2).message
    assert "model/model.safetensors has other bytes" in message and "run the same command again" in message
    (version,) = versions(language)
    assert version.tags["modelmill.verified"] == "false"
    assert tracking.aliases(language.store, language.name, "1") == []
    # Put right by hand, it is completed like any other.
    data[-1] ^= 1
    weights.write_bytes(data)
    language.run(3)
    assert_whole(language)


def test_a_version_that_was_never_verified_is_refused_by_who_reads_it(language: Case, tmp_path: Path) -> None:
    language.run()
    with tracking.client(language.store) as client:
        client.delete_model_version_tag(language.name, "1", "modelmill.verified")
    for uri in (f"models:/{language.name}/1", f"models:/{language.name}@champion"):
        with pytest.raises(UserError, match=f"{uri}: version 1 of .* was never verified"):
            tracking.download_version(language.store, uri, tmp_path / "down")
        with pytest.raises(UserError, match="was never verified"):
            weights.locate("pretraining.init", uri, language.store)
    assert not (tmp_path / "down").exists()
    # Not one of ours: whoever registered it answers for it.
    with tracking.client(language.store) as client:
        client.delete_model_version_tag(language.name, "1", "modelmill.key")
    assert tracking.download_version(language.store, f"models:/{language.name}/1", tmp_path / "down").is_dir()


@pytest.mark.parametrize("kill", KILLS)
def test_killed_at_a_call_and_run_again_there_is_one_whole_version(table: Case, server: str, kill: str) -> None:
    process = Child(table, kill)
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output
    table.run(2)
    assert_whole(table)


def test_killed_at_random_moments_and_run_again_there_is_one_whole_version(
    table: Case, server: str, tmp_path: Path, table_folder: Path
) -> None:
    process = Child(table)
    wait_until_it_starts(process)
    began = time.monotonic()
    process.communicate()
    seconds = time.monotonic() - began
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = make_case(folder, table_folder, "tabular_classification")
        process = Child(case)
        wait_until_it_starts(process)
        time.sleep(random.random() * seconds)
        process.kill()
        process.communicate()
        case.run(2)
        assert_whole(case)


def wait_until_it_starts(process: Child) -> None:
    assert any("starting" in line for line in process.stdout)


def test_sixteen_that_register_one_result_at_once_leave_one_version(table: Case, server: str) -> None:
    processes = [Child(table, number=number, lease=15) for number in range(16)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 16, outputs
    assert_whole(table)
    (version,) = versions(table)
    assert {written_by_child(table, number).info["version"] for number in range(16)} == {str(version.version)}


def test_a_claim_is_renewed_by_a_worker_that_lives_and_taken_over_from_one_that_stands_still(
    table: Case, server: str
) -> None:
    """One that stood still wakes up when another has registered in its place, and finds that version."""
    process = Child(table, "stop:create_model_version", lease=2)
    stat = Path(f"/proc/{process.pid}/stat")
    assert wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 60)
    made = table.run(2)
    assert_whole(table)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert written_by_child(table, 1) == made
    assert_whole(table)


def test_what_a_worker_leaves_that_was_killed_after_it_woke_up_too_late_is_removed(table: Case, server: str) -> None:
    made = table.run()
    (version,) = versions(table)
    with tracking.client(table.store) as client:
        key = version.tags["modelmill.key"]
        model = version.source.removeprefix("models:/")
        client.create_model_version(table.name, version.source, tags={"modelmill.key": key}, model_id=model)
    assert len(versions(table)) == 2
    table.forget()
    assert table.run(2).info == made.info
    assert_whole(table)


@pytest.mark.parametrize("kill", ["never:", "before:set_registered_model_alias"])
def test_the_next_run_sees_the_champion_that_its_evaluation_has_foreseen(table: Case, server: str, kill: str) -> None:
    """Evaluation's key names the champion, which is another from the swap on: registration records nothing of it."""
    document = json.loads(stored.read(table.store, table.arguments["recipe"]))
    document["evaluation"]["comparison"] = {"minimum": 20}
    recipe = recipes.from_json(json.dumps(document))
    table.arguments["recipe"] = stored.write(table.store, recipe)
    held_out = recipe.preprocessing.held_out
    evaluation = table.change("evaluation", comparison={"metric": "accuracy"}, held_out=held_out)
    process = Child(table, kill)
    output, _ = process.communicate()
    assert process.returncode == (0 if kill == "never:" else -signal.SIGKILL), output
    seen = external_inputs.digests("evaluation", recipe, table.store)
    foreseen = champion_state.digest_of(table.manifests["model"].digest, evaluation.digest)
    assert seen == {"source.champion": foreseen}
    assert not list(table.store.list("memo/evaluation/"))


def test_the_evaluation_decides_and_the_loser_is_the_challenger(table: Case) -> None:
    table.run()
    compared = {"source.champion": champion_of(table).digest}
    table.change("model", steps=8)
    numbers = {"difference": -0.1}
    decision = {"passed": False, "reason": "worse by 0.1", "numbers": numbers}
    table.change("evaluation", compared, comparison={"metric": "accuracy"}, decision=decision)
    assert table.run(2).info["version"] == "2"
    assert tracking.aliases(table.store, table.name, "1") == ["champion"]
    assert tracking.aliases(table.store, table.name, "2") == ["challenger"]
    _, entry = next(champion_state.history(table.store, table.name))
    assert (entry.what, entry.version, entry.against, entry.reason) == ("refused", "2", "1", "worse by 0.1")
    assert entry.numbers == numbers and entry.evidence == table.manifests["evaluation"].digest
    table.change("model", steps=9)
    table.change("evaluation", compared, decision={**decision, "passed": True, "reason": "better by 0.2"})
    table.run(3)
    assert tracking.aliases(table.store, table.name, "3") == ["champion"]
    assert tracking.aliases(table.store, table.name, "1") == ["previous"]
    assert tracking.aliases(table.store, table.name, "2") == []
