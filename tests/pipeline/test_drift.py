"""New data against the data of the registered model: before a run, in it and in its report."""

import json
import shutil
from pathlib import Path

from modelmill.runtime import run_records
from modelmill.store import open_store, references
from tests import cli
from tests.pipeline.conftest import Finished
from tests.recipes import write_table


def test_drift_is_said_by_the_command_the_step_and_the_report(table_run: Finished, tmp_path: Path) -> None:
    recipe, store = table_run.recipe, table_run.copy(tmp_path)
    data = shutil.copytree(recipe.parent / "data", tmp_path / "data")
    changes = ["--set", f"data.path={data}", "--set", "data.drift.minimum=100"]
    before = cli.modelmill("data", "drift", recipe, *changes, "--store", f"file://{tmp_path / 'empty'}")
    assert before.returncode == 2 and "no version of tiny-table is registered from it; modelmill run" in before.stderr
    opened = open_store(f"file://{store}")
    assert references.find(opened, "tiny-table").version == "1"  # type: ignore[union-attr]

    same = cli.modelmill("data", "drift", recipe, *changes, "--store", f"file://{store}")
    assert same.returncode == 0, same.stderr
    assert "the data has not drifted from that of tiny-table version 1: largest PSI 0.000" in same.stdout

    rows = (data / "table.csv").read_text().splitlines()
    wider = [
        ",".join([n, str(float(width) + 2), height, kind])
        for n, width, height, kind in (r.split(",") for r in rows[1:])
    ]
    (data / "table.csv").write_text("\n".join([rows[0], *wider]) + "\n")
    records = len(run_records.run_ids(opened))
    moved = cli.modelmill("data", "drift", recipe, *changes, "--store", f"file://{store}", "--json")
    assert moved.returncode == 3 and len(run_records.run_ids(opened)) == records
    found = json.loads(moved.stdout)
    assert found["drifted"] and found["measures"][0]["column"] == "width" and found["drift"] > 1
    assert {m["column"] for m in found["measures"] if m["drifted"]} == {"width"}

    second = cli.run_json(recipe, store, *changes)
    assert second["returncode"] == 0
    assert ", drifted from tiny-table v1 (PSI " in second["steps"][0]["headline"]
    kept = json.loads(opened.get(f"runs/{second['run_id']}/validation/{run_records.DRIFT}"))
    assert kept["measures"] == found["measures"] and kept["version"] == "1"
    report = opened.get(run_records.report_key(second["run_id"])).decode()
    assert "Drift from the data of tiny-table version 1" in report and 'id="drift"' in report

    # The second model was made from the new data, and is what data is held against from now on.
    again = cli.modelmill("data", "drift", recipe, *changes, "--store", f"file://{store}")
    assert again.returncode == 0 and "tiny-table version 2" in again.stdout


def test_a_profile_is_printed_and_its_suite_written_once(tmp_path: Path) -> None:
    data, suite = write_table(tmp_path / "data"), tmp_path / "suites" / "mine.json"
    (data / "more.csv").write_text("id,width,height,kind\n900,2.5,1.5,\x1b[31m<b>\n")
    done = cli.modelmill("data", "profile", data, "-o", suite)
    assert done.returncode == 0, done.stderr
    assert "201 rows; a suite of " in done.stdout and "\x1b" not in done.stdout and "<b>" in done.stdout
    kept = cli.modelmill("data", "validate", data, "--suite", suite)
    assert kept.returncode == 0, kept.stdout
    edited = suite.read_text()
    refused = cli.modelmill("data", "profile", data, "-o", suite)
    assert refused.returncode == 2 and "is there already" in refused.stderr and suite.read_text() == edited
    machine = json.loads(cli.modelmill("data", "profile", data, "--json").stdout)
    assert machine["rows"] == 201 and [c["name"] for c in machine["columns"]] == ["id", "width", "height", "kind"]
    assert machine["suite"]["expectations"] == json.loads(edited)["expectations"]
