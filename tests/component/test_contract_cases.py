"""Data that went wrong somewhere, with the right verdict on each expectation; each case is a folder in tests/cases."""

import json
from pathlib import Path

import pytest

from modelmill.components.data_validation import contract
from modelmill.core.errors import UserError
from modelmill.data import shards

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
