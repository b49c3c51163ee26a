"""`modelmill promote`, `rollback` and `registry`, against the default registry."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelmill.champion import champion_state
from modelmill.recipe import stored
from modelmill.runtime import run_records
from modelmill.runtime.run_records import RunRecord
from modelmill.store import Store, blobs, open_store
from tests import cli
from tests.component.registrations import Case, make_case, write_table_model

HOSTILE = "cheaper \x1b[31m[bold]by far"


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Three versions: 1 was the champion, 2 is, and 3 was turned down."""
    folder, model = tmp_path_factory.mktemp("registered"), tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            monkeypatch.delenv(name)
        write_table_model(model, "relu", ["big", "small"])
        case = make_case(folder, model, "tabular_classification")
        register(case, 1, 0.7)
        entries = case.manifests["dataset"].entries
        more = entries[0].model_copy(update={"path": "more.csv", "sha256": "1" * 64})
        case.manifests["dataset"] = case.manifests["dataset"].model_copy(update={"entries": [*entries, more]})
        case.change("dataset", rows=300)
        register(case, 2, 0.8)
        register(case, 3, 0.6)
        yield case


def register(case: Case, number: int, accuracy: float) -> None:
    """Another model of this accuracy, from a run that the store knows."""
    now = champion_state.read(case.store, case.name)
    better = now.champion is None or accuracy > 0.7
    case.change("model", steps=number)
    decision = {"passed": better, "reason": f"accuracy {accuracy}", "numbers": {"accuracy": accuracy}}
    compared = {"source.champion": now.champion.digest if now.champion else champion_state.NOBODY}
    case.change("evaluation", compared, metrics={"accuracy": accuracy}, comparison={"metric": "x"}, decision=decision)
    recipe = json.loads(stored.read(case.store, case.arguments["recipe"]))
    recipe["fine_tuning"]["learning_rate"] = number / 10
    run_records.write_run(
        case.store,
        RunRecord(run_id=case.run_id(number), recipe=recipe, store=case.store.uri, started=0.0, resume="modelmill run"),
    )
    case.run(number)


class Copy:
    """The store again, for a test that changes it."""

    def __init__(self, case: Case, folder: Path) -> None:
        shutil.copytree(case.folder / "store", folder)
        self.folder, self.name = folder, case.name
        self.store: Store = open_store(f"file://{folder}")

    def call(self, *arguments: str, fails: int = 0) -> str:
        """What a command printed; its errors, if it was to fail with this exit code."""
        done = cli.modelmill(*arguments, "--store", self.store.uri)
        assert done.returncode == fails, done.stderr
        assert "Traceback" not in done.stderr
        assert not fails or len(done.stderr.splitlines()) == 1
        return done.stderr if fails else done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json"))

    def aliases(self) -> dict[str, str]:
        found = cli.registry(self.folder).get_registered_model(self.name).aliases
        return {alias: str(version) for alias, version in found.items()}


@pytest.fixture
def copy(registered: Case, tmp_path: Path) -> Copy:
    return Copy(registered, tmp_path / "store")


def test_list_says_where_each_model_stands(copy: Copy) -> None:
    (row,) = copy.json("registry", "list")["models"]
    assert row == {
        "model": copy.name,
        "champion": "2",
        "challenger": "3",
        "previous": "1",
        "withdrawn": [],
        "versions": ["1", "2", "3"],
        "imported_from": None,
    }
    assert copy.name in copy.call("registry", "list")


def test_show_lists_versions_or_tells_one(copy: Copy) -> None:
    shown = copy.json("registry", "show", copy.name)
    assert [(row["version"], row["aliases"], row["metrics"]) for row in shown["versions"]] == [
        ("1", ["previous"], {"accuracy": 0.7}),
        ("2", ["champion"], {"accuracy": 0.8}),
        ("3", ["challenger"], {"accuracy": 0.6}),
    ]
    assert "@champion" in copy.call("registry", "show", copy.name)
    one = copy.json("registry", "show", f"{copy.name}@challenger")
    assert one == copy.json("registry", "show", f"{copy.name}/3")
    assert one["verified"] and one["run_id"] == f"{copy.name}-run-3"
    (decided,) = one["decisions"]
    assert (decided["what"], decided["against"], decided["reason"]) == ("refused", "2", "accuracy 0.6")
    assert "accuracy 0.6" in copy.call("registry", "show", f"{copy.name}/3")


def test_diff_names_settings_shards_metrics_and_code(copy: Copy) -> None:
    between = copy.json("registry", "diff", copy.name, "1", "@champion")
    assert between["settings"] == [["fine_tuning.learning_rate", 0.1, 0.2]]
    assert between["metrics"] == [["accuracy", 0.7, 0.8]]
    assert between["data"] == {"rows": [200, 300], "added": ["more.csv"], "removed": [], "changed": []}
    assert between["code"] == []
    text = copy.call("registry", "diff", copy.name, "1", "2")
    assert "fine_tuning.learning_rate" in text and "more.csv" in text
    assert "nothing differs" in copy.call("registry", "diff", copy.name, "2", "2")
    run_records.forget(copy.store, f"{copy.name}-run-1")
    between = copy.json("registry", "diff", copy.name, "1", "2")
    assert between["settings"] is None and between["code"] is None and between["metrics"]
    assert "no longer in the store" in copy.call("registry", "diff", copy.name, "1", "2")


def test_rollback_puts_the_previous_champion_back_and_promote_undoes_that(copy: Copy) -> None:
    said = copy.call("rollback", copy.name, "--reason", HOSTILE)
    assert said == f"{copy.name}: version 1 is the champion in place of version 2\n"
    assert copy.aliases() == {"champion": "1"}
    assert champion_state.read(copy.store, copy.name).withdrawn == ("2",)
    assert "\x1b" not in copy.call("registry", "log", copy.name)
    nothing = copy.call("rollback", copy.name, fails=2)
    assert "no previous champion to go back to; name a version with --to (verified are 2, 3)" in nothing
    assert copy.call("rollback", copy.name, "--to", "3").endswith("version 3 is the champion in place of version 1\n")
    promoted = copy.json("promote", copy.name, "2", "--reason", "it was not its fault")
    assert promoted["champion"]["version"] == "2" and promoted["withdrawn"] == ["1"]
    assert promoted["decision"]["reason"] == "it was not its fault"
    assert copy.aliases() == {"champion": "2", "previous": "3"}
    assert copy.call("promote", copy.name, "2") == f"{copy.name}: version 2 is the champion already\n"
    log = copy.json("registry", "log", copy.name)["log"]
    assert [(entry["what"], entry["version"]) for entry in log] == [
        ("promoted", "2"),
        ("rolled back", "3"),
        ("rolled back", "1"),
        ("refused", "3"),
        ("promoted", "2"),
        ("promoted", "1"),
    ]
    assert log[2]["reason"] == HOSTILE and log[2]["against"] == "2" and log[2]["who"]


def test_a_version_that_cannot_be_champion_is_one_line_that_names_those_that_can(copy: Copy) -> None:
    client = cli.registry(copy.folder)
    client.delete_model_version_tag(copy.name, "3", "modelmill.verified")
    theirs = client.get_model_version(copy.name, "1").source
    client.create_model_version(copy.name, source=theirs)
    for command in (["promote", copy.name], ["rollback", copy.name, "--to"]):
        assert f"{copy.name}: no version 9; there are 1, 2, 3, 4" in copy.call(*command, "9", fails=2)
        assert "version 3 was never verified; verified are 1, 2" in copy.call(*command, "3", fails=2)
        assert "version 4 was not registered by Modelmill; verified are 1, 2" in copy.call(*command, "4", fails=2)
    assert "version 2 is the champion already; verified are 1" in copy.call("rollback", copy.name, "--to", "2", fails=2)
    client.delete_model_version(copy.name, "1")
    assert "no version 1; there are 2, 3, 4" in copy.call("rollback", copy.name, fails=2)
    assert champion_state.read(copy.store, copy.name).withdrawn == ()


@pytest.mark.parametrize("name", ["nobody", "../escape", "it's", "", "a\x1b[31m"])
@pytest.mark.parametrize("command", [["registry", "log"], ["registry", "show"], ["registry", "repair"], ["rollback"]])
def test_an_unknown_model_is_one_line_that_names_those_there_are(
    registered: Case, command: list[str], name: str
) -> None:
    done = cli.modelmill(*command, name, "--store", registered.store.uri)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"known: {registered.name}" in line and "\x1b" not in line


def test_what_is_asked_of_a_store_without_models(tmp_path: Path) -> None:
    store = f"file://{tmp_path}/store"
    assert json.loads(cli.modelmill("registry", "list", "--json", "--store", store).stdout) == {"models": []}
    assert "known: none" in cli.modelmill("rollback", "m", "--store", store).stderr
    assert not (tmp_path / "store" / "mlflow.db").exists()


def test_repair_points_the_aliases_to_where_they_belong(copy: Copy) -> None:
    client = cli.registry(copy.folder)
    client.set_registered_model_alias(copy.name, "champion", "3")
    client.delete_registered_model_alias(copy.name, "challenger")
    client.set_registered_model_alias(copy.name, "mine", "1")
    client.delete_model_version(copy.name, "1")
    said = copy.call("registry", "repair")
    assert "champion: 3 -> 2" in said and "challenger: none -> 3" in said
    assert "previous: version 1 is no longer in MLflow" in said
    aliases = copy.aliases()
    assert (aliases["champion"], aliases["challenger"]) == ("2", "3")
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source=client.get_model_version(copy.name, "2").source)
    assert "nothing was decided about it" in copy.call("registry", "repair", "theirs", fails=2)


def test_what_an_older_modelmill_has_set_stays_until_something_is_decided(copy: Copy) -> None:
    for key in list(copy.store.list("registry/")):
        copy.store.delete(key)
    assert copy.json("registry", "repair")["changed"] == {}
    assert copy.aliases()["champion"] == "2"
    assert copy.json("promote", copy.name, "3")["previous"] is None
    assert copy.aliases() == {"champion": "3"}


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_log_that_was_tampered_with_is_named(copy: Copy, how: str) -> None:
    entries = copy.json("registry", "log", copy.name)["log"]
    key = blobs.key_of(entries[1]["digest"])
    if how == "changed":
        copy.store.put(key, copy.store.get(key).replace(b"accuracy 0.8", b"accuracy 0.9"))
    else:
        copy.store.delete(key)
    said = copy.call("registry", "log", copy.name, fails=1)
    assert f"entry {entries[1]['digest']} of the log of decisions is damaged" in said


def test_a_log_that_was_cut_off_is_told_by_its_witness(copy: Copy) -> None:
    key = f"registry/{copy.name}.json"
    before = copy.store.get(key)
    copy.call("rollback", copy.name)
    newest = copy.json("registry", "log", copy.name)["log"][0]["digest"]
    copy.store.put(key, before)
    said = copy.call("registry", "log", copy.name, fails=1)
    assert f"version 1 names entry {newest}" in said and "which the log does not have" in said
    copy.store.delete(key)
    assert "which the log does not have" in copy.call("registry", "log", copy.name, fails=1)


COMMANDS = [["promote"], ["rollback"], *(["registry", name] for name in ("list", "show", "diff", "log", "repair"))]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command: list[str]) -> None:
    done = cli.modelmill(*command, "--help")
    assert done.returncode == 0
    assert f"Example: modelmill {' '.join(command)}" in done.stdout and "--json" in done.stdout
