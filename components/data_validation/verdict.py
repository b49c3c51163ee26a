"""Why the data did not pass, on one line that leads to the rows."""

import bisect
import itertools
import json
from typing import Any

from modelmill.store.manifest import Entry

# Rows that are dropped before an expectation sees them: their numbers, from 1 and ascending, by the shard's path.
Dropped = dict[str, list[int]]
_MAX_EXPECTATIONS, _MAX_SAMPLES, _MAX_TEXT = 3, 3, 40


def explain(result: dict[str, Any], shards: list[Entry], dropped: Dropped | None = None) -> str:
    """Return the failed expectations with counts and sample rows, as `shard:row=value`.

    Args:
        result: Great Expectations' result as JSON.
        shards: The shards in their order, with their numbers of rows; rows count from 1 in their shard.
        dropped: Rows that the numbers leave out.
    """
    failed = [r for r in result["results"] if not r["success"]]
    lines = [f"{name(r)} {finding(r, shards, dropped)}" for r in failed[:_MAX_EXPECTATIONS]]
    more = f" | and {len(failed) - len(lines)} more" if len(failed) > len(lines) else ""
    return f"{len(failed)} of {len(result['results'])} expectations failed: {' | '.join(lines)}{more}"


def name(one: dict[str, Any]) -> str:
    """Return an expectation with its columns, such as `expect_column_values_to_be_unique(path)`."""
    kwargs = one["expectation_config"]["kwargs"]
    columns = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
    return f"{one['expectation_config']['type']}({', '.join(str(c) for c in columns or kwargs.get('column_list', []))})"


def finding(
    one: dict[str, Any], shards: list[Entry], dropped: Dropped | None = None, samples: int = _MAX_SAMPLES
) -> str:
    """Return what an expectation observed: unexpected rows with samples, or a value.

    Args:
        one: The result of the expectation.
        shards: The shards in their order, with their numbers of rows.
        dropped: Rows that the numbers leave out.
        samples: How many rows to show.
    """
    details = one["result"]
    if one["exception_info"]["raised_exception"]:
        return f"cannot be computed: {one['exception_info']['exception_message']}"
    if "element_count" not in details or "unexpected_count" not in details:
        return f"found {_short(_observed(details))}"
    rows = ", ".join(_samples(details, shards, dropped or {})[:samples])
    return f"{details['unexpected_count']} of {details['element_count']} rows" + (f": {rows}" if rows else "")


def _observed(details: dict[str, Any]) -> Any:
    """Return what was observed in place of what was expected; for sets, what is too much and what is missing."""
    sets = {
        key: details[f"partial_{key}_list"] for key in ("unexpected", "missing") if details.get(f"partial_{key}_list")
    }
    return sets or details.get("details", {}).get("mismatched") or details.get("observed_value")


def _samples(details: dict[str, Any], shards: list[Entry], dropped: Dropped) -> list[str]:
    rows = details.get("partial_unexpected_index_list") or []
    values = details.get("partial_unexpected_list") or []
    pairs = list(zip(rows, values, strict=False))[:_MAX_SAMPLES]
    return [f"{_place(row, shards, dropped)}={_short(value)}" for row, value in pairs if isinstance(row, int)]


def row_in_shard(place: int, dropped: list[int]) -> int:
    """Return the number of a row in its shard, from 1.

    Args:
        place: Its place, from 0, among the rows that are not dropped.
        dropped: Numbers of the dropped rows, ascending.
    """
    row = place + 1
    for number in dropped:
        if number > row:
            break
        row += 1
    return row


def _place(row: int, shards: list[Entry], dropped: Dropped) -> str:
    """Return the shard that holds a row of all the data, and the row's number in it, from 1."""
    ends = list(itertools.accumulate(s.rows or 0 for s in shards))
    shard = bisect.bisect_right(ends, row)
    start = ends[shard - 1] if shard else 0
    path = shards[shard].path
    return f"{path}:{row_in_shard(row - start, dropped.get(path, []))}"


def _short(value: Any) -> str:
    """Return the value as JSON, so that data cannot break the line, and cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
