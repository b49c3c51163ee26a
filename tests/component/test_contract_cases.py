"""Data that went wrong somewhere, with the right verdict on each expectation; each case is a folder in tests/cases."""

import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelmill.components.data_validation import contract
from modelmill.core.errors import UserError
from modelmill.data import shards

# The end of time, as databases write it, is beyond what nanoseconds reach.
FAR = [
    ({"min_value": "0001-01-01", "max_value": "9999-12-31"}, True),
    ({"min_value": "2024-01-01T00:00:00.000001", "strict_min": True}, False),
    ({"max_value": "9999-12-31T23:59:59"}, True),
    ({"min_value": "9999-12-31"}, False),
]
CASES = sorted((Path(__file__).parents[1] / "cases").iterdir())


@pytest.mark.parametrize("folder", CASES, ids=[folder.name for folder in CASES])
def test_the_verdict_is_the_right_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    case = json.loads(Path("case.json").read_text())
    suite = json.loads(Path("suite.json").read_text())
    try:
        judged = contract.judge(case["path"], shards.find(case["path"], "auto"), suite, lambda *_: None)
    except UserError:
        assert case["expect"] == "refuse"
        return
    if case["expect"] == "refuse":
        assert judged.refused
        return
    found = [result["success"] for result in judged.result["results"]]
    asserted = [right is not None for right in case["expect"]]
    assert [f for f, a in zip(found, asserted, strict=True) if a] == [r for r in case["expect"] if r is not None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_bounds_on_times_reach_further_than_nanoseconds(tmp_path: Path, unit: str) -> None:
    times = pa.array([datetime(2024, 1, 1), datetime(2024, 6, 1), None], pa.timestamp(unit))
    pq.write_table(pa.table({"t": times}), tmp_path / "a.parquet")
    kind = "expect_column_values_to_be_between"
    suite = {"expectations": [{"type": kind, "kwargs": {"column": "t", **bounds}} for bounds, _ in FAR]}
    far = {"column": "t", "value_set": ["2024-01-01", "2024-06-01", "9999-12-31"]}
    suite["expectations"].append({"type": "expect_column_values_to_be_in_set", "kwargs": far})
    judged = contract.judge(str(tmp_path), shards.find(str(tmp_path), "auto"), suite, lambda *_: None)
    found = [result["success"] for result in judged.result["results"]]
    assert found == [*(right for _, right in FAR), True]
