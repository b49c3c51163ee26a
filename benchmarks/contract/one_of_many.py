"""Cost of one changed shard of many: validation and preprocessing, through the steps' KFP faces."""

import json
import time
from pathlib import Path
from typing import Any

from tests.component.steps import Steps
from tests.recipes import language_recipe, source_file

SUITE = {
    "name": "text",
    "expectations": [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "text"}},
        {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "text", "min_value": 1}},
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "path", "regex": r"\.py$"}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "bytes", "min_value": 1}},
    ],
}


def measure(folder: Path, shards: int, files: int) -> dict[str, Any]:
    """Return the seconds of the two steps, for all shards and then after one of them has changed.

    Args:
        folder: Folder for data and stores.
        shards: How many shards.
        files: Rows of each shard.
    """
    data = folder / "text"
    data.mkdir(parents=True)
    for shard in range(shards):
        _write(data, shard, range(shard * files, (shard + 1) * files))
    recipe = language_recipe(folder, data, SUITE, preprocessing__fit="once")
    steps = Steps(recipe, folder / "work")
    first = _seconds(steps)
    _write(data, shards // 2, range(10**6, 10**6 + files))
    again = _seconds(steps)
    return {"shards": shards, "first": first, "again": again, "share": sum(again.values()) / sum(first.values())}


def _seconds(steps: Steps) -> dict[str, float]:
    started = time.perf_counter()
    dataset = steps.call("data_validation", ["dataset", "validation"])["dataset"]
    validated = time.perf_counter()
    steps.call("preprocessing", ["corpus"], dataset=dataset)
    return {"data_validation": validated - started, "preprocessing": time.perf_counter() - validated}


def _write(folder: Path, shard: int, numbers: range) -> None:
    rows = [
        {"path": f"pkg/file_{n}.py", "text": "".join(source_file(n * 50 + i) for i in range(50)), "bytes": 1}
        for n in numbers
    ]
    (folder / f"part-{shard:03d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
