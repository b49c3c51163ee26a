"""`modelmill data validate`: a contract judged outside a run, by the code of the step."""

import json
from pathlib import Path

import pytest

from tests import cli
from tests.recipes import table_recipe, write_table

RANGE = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "width", "max_value": 5}}


def suite(folder: Path, *expectations: dict) -> Path:
    file = folder / "suite.json"
    file.write_text(json.dumps({"name": "contract", "expectations": expectations}))
    return file


def five_shards(folder: Path, good: int) -> Path:
    """Shards of one column, the last `good` of which keep RANGE: a checkpoint over a folder sees only the last."""
    folder.mkdir()
    for number in range(5):
        width = 1 if number >= 5 - good else 100
        (folder / f"{number}.csv").write_text("width\n" + f"{width}\n" * 10)
    return folder


def test_data_that_keeps_its_contract_ends_with_0_and_writes_its_docs(tmp_path: Path) -> None:
    data = write_table(tmp_path / "data")
    done = cli.modelmill("data", "validate", data, "--suite", suite(tmp_path, RANGE), "--docs", tmp_path / "docs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ok   expect_column_values_to_be_between(width)  0 of 200 rows",
        "200 rows in 1 shard: the contract is kept",
    ]
    assert "expect" in (tmp_path / "docs" / "data_docs.html").read_text().lower()


def test_four_bad_shards_before_a_good_one_break_the_contract(tmp_path: Path) -> None:
    data = five_shards(tmp_path / "data", good=1)
    done = cli.modelmill("data", "validate", data, "--suite", suite(tmp_path, RANGE))
    assert done.returncode == 3
    assert "bad  expect_column_values_to_be_between(width)  40 of 50 rows: 0.csv:1=100" in done.stdout
    machine = cli.modelmill("data", "validate", data, "--suite", suite(tmp_path, RANGE), "--json")
    assert machine.returncode == 3
    printed = json.loads(machine.stdout)
    assert (printed["success"], printed["shards"], printed["rows"]) == (False, 5, 50)
    assert printed["result"]["results"][0]["result"]["unexpected_count"] == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone", "--suite", "suite.json"), "data.path: gone: no such file or folder"),
        (("data", "--suite", "gone.json"), "--suite: gone.json: No such file"),
        (("data", "--suite", "data/table.csv"), "the suite is not JSON"),
        (("data", "--suite", "suite.json", "--format", "xml"), "--format xml: auto, jsonl"),
        (("data", "--suite", "suite.json", "--docs", "suite.json"), "--docs suite.json: cannot be written"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write_table(tmp_path / "data")
    suite(tmp_path, RANGE)
    done = cli.modelmill("data", "validate", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message in done.stderr


def test_types_are_chosen_on_the_command_line_and_in_a_recipe_and_the_plan_shows_them(tmp_path: Path) -> None:
    data = five_shards(tmp_path / "data", good=0)
    number = {"type": "expect_column_values_to_be_of_type", "kwargs": {"column": "width", "type_": "int64"}}
    validate = ("data", "validate", data, "--suite", suite(tmp_path, number))
    assert cli.modelmill(*validate).returncode == 0
    assert cli.modelmill(*validate, "--column", "width=text").returncode == 3
    for wrong in ("width", "width=txt", "=text"):
        done = cli.modelmill(*validate, "--column", wrong)
        assert done.returncode == 2 and f"--column {wrong}: write NAME=TYPE" in done.stderr
    store = f"file://{tmp_path}/store"
    table = write_table(tmp_path / "table")
    (table / "notes.csv").write_text("by\nann\n")
    changes = {"data__columns": {"id": "text"}, "data__ignore": ["notes*"]}
    recipe = table_recipe(tmp_path / "r", table, **changes)
    planned = ("plan", recipe, "--store", store, "--json")
    assert json.loads(cli.modelmill(*planned).stdout)["columns"] == {"id": "text"}
    assert cli.modelmill("run", recipe, "--store", store).returncode == 0
    types = json.loads(cli.modelmill(*planned).stdout)["columns"]
    assert types == {"id": "string", "width": "double", "height": "double", "kind": "string"}
    assert "columns: height double, id string, kind string, width double" in cli.modelmill(*planned[:-1]).stdout


def test_counting_objects_is_refused_with_the_verdict_on_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"u": {"id": 1}, "n": 1}\n')
    unique = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "u"}}
    there = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "n"}}
    done = cli.modelmill("data", "validate", tmp_path / "a.jsonl", "--suite", suite(tmp_path, there, unique), "--json")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "expectations[1] expect_column_values_to_be_unique: column 'u' holds struct" in done.stderr
    assert [result["success"] for result in json.loads(done.stdout)["result"]["results"]] == [True, False]
