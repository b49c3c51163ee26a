"""Shards that cannot be used are left out as far as the recipe tolerates it, and can be looked at afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelmill.store.manifest import Manifest
from tests import cli
from tests.component.steps import Steps
from tests.recipes import table_recipe, write_table

SUITE = {
    "name": "contract",
    "expectations": [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "width", "max_value": 50, "mostly": 0.9}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "kind"}},
    ],
}
HEADER = "id,width,height,kind\n"


def bad_width(rows: int, bad: int) -> str:
    return HEADER + "".join(f"{9000 + n},{100 if n < bad else 2},1.5,small\n" for n in range(rows))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_table(tmp_path / "data")


def steps(folder: Path, data: Path, quarantine: dict[str, Any] | None, groups: int = 1) -> Steps:
    recipe = table_recipe(folder, data, SUITE, data__quarantine=quarantine, data__groups=groups)
    return Steps(recipe, folder / "work")


def validate(at: Steps) -> Manifest:
    return at.call("data_validation", ["dataset", "validation"])["dataset"]


def fails(at: Steps) -> tuple[int, str]:
    return at.fails("data_validation", ["dataset", "validation"])


def test_a_shard_whose_rows_break_a_rule_is_left_out_and_named(tmp_path: Path, data: Path) -> None:
    (data / "worse.csv").write_text(bad_width(20, 3))
    (data / "fine.csv").write_text(bad_width(20, 2))  # exactly what `mostly` allows
    at = steps(tmp_path, data, {"shards": 1})
    dataset = validate(at)
    assert [e.path for e in dataset.entries] == ["fine.csv", "table.csv"]
    (left_out,) = dataset.info["left_out"]
    assert left_out["path"] == "worse.csv"
    assert left_out["why"] == "expect_column_values_to_be_between(width) 3 of 20 rows"
    assert dataset.info["rows"] == 220
    assert at.record("data_validation").headline == "220 rows, 2/2 expectations, 1 shard quarantined"


def test_without_a_policy_the_whole_data_is_judged_as_one(tmp_path: Path, data: Path) -> None:
    (data / "worse.csv").write_text(bad_width(20, 3))
    assert len(validate(steps(tmp_path, data, None)).entries) == 2


BROKEN = {
    "ragged rows": (HEADER + "1,2,3,small\n1,2\n", "bad.csv:3: 2 fields, the header has 4"),
    "zero bytes": ("", "empty (0 bytes)"),
    "another schema": (HEADER + "1,wide,3,small\n", "column 'width' is string, in the shards before it double"),
    "all null": (HEADER + "1,2,3,\n2,2,3,\n", "expect_column_values_to_not_be_null(kind) 2 of 2 rows"),
    "mixed encodings": (HEADER.encode() + "1,2,3,größe\n".encode("latin-1"), "not UTF-8 (byte 0xf6)"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_shard_is_left_out_or_stops_the_run(kind: str, tmp_path: Path, data: Path) -> None:
    content, why = BROKEN[kind]
    name = data / "z-bad.csv"  # after the others, which say what the schema is
    name.write_bytes(content if isinstance(content, bytes) else content.encode())
    at = steps(tmp_path, data, {"shards": 1})
    (left_out,) = validate(at).info["left_out"]
    assert why.replace("bad.csv:", "z-bad.csv:").removeprefix("z-bad.csv:") in left_out["why"]
    code, message = fails(steps(tmp_path, data, {"shards": 0}))
    assert code == 3 and "1 of 2 shards are bad, data.quarantine.shards allows 0; first z-bad.csv" in message
    assert "\n" not in message


def test_more_rows_than_tolerated_stop_the_run(tmp_path: Path, data: Path) -> None:
    (data / "worse.csv").write_text(bad_width(20, 20))
    assert len(validate(steps(tmp_path, data, {"shards": 5, "rows": 20})).entries) == 1
    code, message = fails(steps(tmp_path, data, {"shards": 5, "rows": 19}))
    assert code == 3 and "the 1 bad shards have 20 rows, data.quarantine.rows allows 19" in message


def test_a_run_over_groups_of_shards_shows_what_it_left_out(tmp_path: Path, data: Path) -> None:
    """Through KFP: the groups are mapped, reduced once, and the samples are there for a person, escaped."""
    (data / "bad.csv").write_text(HEADER + '1,100,3,"<script>\x1b[31m"\n' * 30)
    suite = {"name": "contract", "expectations": [*SUITE["expectations"], KINDS]}
    recipe = table_recipe(tmp_path, data, suite, data__quarantine={"shards": 1, "samples": 2}, data__groups=3)
    store = f"file://{tmp_path}/store"
    run = cli.modelmill("run", recipe, "--store", store, "--json")
    assert run.returncode == 0, run.stderr
    step = json.loads(run.stdout)["steps"][0]
    assert (step["metrics"]["new_shards"], step["metrics"]["quarantined"]) == (0, 1), "the groups have scanned them all"

    listed = cli.modelmill("data", "quarantine", "--store", store)
    assert listed.returncode == 0 and "bad.csv  30 rows  expect_column_values_to_be_between(width)" in listed.stdout
    shown = cli.modelmill("data", "show", "bad.csv", "--store", store)
    assert shown.stdout.splitlines()[1:] == [
        "row 1  100.0  expect_column_values_to_be_between(width)",
        "row 2  100.0  expect_column_values_to_be_between(width)",
        'row 1  "<script>\\u001b[31m"  expect_column_values_to_be_in_set(kind)',
        'row 2  "<script>\\u001b[31m"  expect_column_values_to_be_in_set(kind)',
    ]
    unknown = cli.modelmill("data", "show", "table.csv", "--store", store)
    assert unknown.returncode == 2 and "table.csv: not quarantined in run" in unknown.stderr


KINDS = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "kind", "value_set": ["big", "small"]}}


def test_a_store_without_runs_has_no_quarantine(tmp_path: Path) -> None:
    done = cli.modelmill("data", "quarantine", "--store", f"file://{tmp_path}/store")
    assert done.returncode == 2 and "no runs; there are none yet" in done.stderr
