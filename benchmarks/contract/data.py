"""The data and the suite that every peer judges: seven columns, a few bad rows in a thousand, ten expectations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SHARDS = 10
CATEGORIES = [f"category-{number}" for number in range(20)]
CODE = "^AB-[0-9]{5}-x$"
SUITE: dict[str, Any] = {
    "name": "benchmark",
    "expectations": [
        {"type": f"expect_{kind}", "kwargs": kwargs}
        for kind, kwargs in [
            ("table_row_count_to_be_between", {"min_value": 1}),
            ("column_values_to_be_unique", {"column": "id"}),
            ("column_values_to_not_be_null", {"column": "score", "mostly": 0.9}),
            ("column_values_to_be_between", {"column": "quantity", "min_value": 1, "max_value": 99, "mostly": 0.98}),
            ("column_values_to_be_between", {"column": "price", "min_value": 0, "max_value": 99.9, "mostly": 0.98}),
            ("column_values_to_be_in_set", {"column": "category", "value_set": CATEGORIES[:-1], "mostly": 0.9}),
            ("column_values_to_match_regex", {"column": "code", "regex": CODE, "mostly": 0.99}),
            ("column_value_lengths_to_be_between", {"column": "code", "min_value": 10, "max_value": 10}),
            ("column_mean_to_be_between", {"column": "score", "min_value": 49, "max_value": 51}),
            ("column_stdev_to_be_between", {"column": "price", "min_value": 20, "max_value": 40}),
        ]
    ],
}


def write(folder: Path, rows: int) -> Path:
    """Write rows in ten shards, the same every time, and the suite, and return the folder of the shards.

    Args:
        folder: Folder to write into.
        rows: How many rows in all.
    """
    shards = folder / f"rows-{rows}"
    if shards.exists():
        return shards
    unfinished = folder / "unfinished"
    unfinished.mkdir(parents=True)
    for shard in range(SHARDS):
        pq.write_table(_table(shard, rows // SHARDS), unfinished / f"part-{shard:02d}.parquet", row_group_size=131_072)
    (folder / "suite.json").write_text(json.dumps(SUITE))
    unfinished.rename(shards)
    return shards


def _table(shard: int, rows: int) -> pa.Table:
    draw = np.random.default_rng(shard)
    ids = np.arange(shard * rows, (shard + 1) * rows)
    draw.shuffle(ids)
    codes = np.char.add(np.char.add("AB-", draw.integers(10_000, 100_000, rows).astype(str)), "-x")
    codes[draw.random(rows) < 0.002] = "AB-none--x"
    return pa.table(
        {
            "id": ids,
            "quantity": draw.integers(0, 100, rows),
            "price": draw.random(rows) * 100,
            "score": pa.array(draw.normal(50, 10, rows), mask=draw.random(rows) < 0.02),
            "category": np.array(CATEGORIES)[draw.integers(0, len(CATEGORIES), rows)],
            "time": pa.array(1_700_000_000_000_000 + draw.integers(0, 10**13, rows), pa.timestamp("us")),
            "code": codes,
        }
    )
