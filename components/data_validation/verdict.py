"""Why the data did not pass, on one line that leads to the rows."""

import bisect
import itertools
import json
from typing import Any

from modelmill.store.manifest import Entry

_MAX_EXPECTATIONS, _MAX_SAMPLES, _MAX_TEXT = 3, 3, 40


def explain(result: dict[str, Any], shards: list[Entry]) -> str:
    """Return the failed expectations with counts and sample rows, as `shard:row=value`.

    Args:
        result: Great Expectations' result as JSON.
        shards: The shards in their order, with their numbers of rows; rows count from 1 in their shard.
    """
    failed = [r for r in result["results"] if not r["success"]]
    lines = [f"{name(r)} {finding(r, shards)}" for r in failed[:_MAX_EXPECTATIONS]]
    more = f" | and {len(failed) - len(lines)} more" if len(failed) > len(lines) else ""
    return f"{len(failed)} of {len(result['results'])} expectations failed: {' | '.join(lines)}{more}"


def name(one: dict[str, Any]) -> str:
    """Return an expectation with its columns, such as `expect_column_values_to_be_unique(path)`."""
    kwargs = one["expectation_config"]["kwargs"]
    columns = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs]
    return f"{one['expectation_config']['type']}({', '.join(str(c) for c in columns or kwargs.get('column_list', []))})"


def finding(one: dict[str, Any], shards: list[Entry], samples: int = _MAX_SAMPLES) -> str:
    """Return what an expectation observed: unexpected rows with samples, or a value.

    Args:
        one: The result of the expectation.
        shards: The shards in their order, with their numbers of rows.
        samples: How many rows to show.
    """
    details = one["result"]
    if one["exception_info"]["raised_exception"]:
        return f"cannot be computed: {one['exception_info']['exception_message']}"
    if "element_count" not in details or "unexpected_count" not in details:
        return f"found {_short(_observed(details))}"
    rows = ", ".join(_samples(details, shards)[:samples])
    return f"{details['unexpected_count']} of {details['element_count']} rows" + (f": {rows}" if rows else "")


def _observed(details: dict[str, Any]) -> Any:
    """Return what was observed in place of what was expected; for sets, what is too much and what is missing."""
    sets = {
        key: details[f"partial_{key}_list"] for key in ("unexpected", "missing") if details.get(f"partial_{key}_list")
    }
    return sets or details.get("details", {}).get("mismatched") or details.get("observed_value")


def _samples(details: dict[str, Any], shards: list[Entry]) -> list[str]:
    rows = details.get("partial_unexpected_index_list") or []
    values = details.get("partial_unexpected_list") or []
    pairs = list(zip(rows, values, strict=False))[:_MAX_SAMPLES]
    return [f"{_place(row, shards)}={_short(value)}" for row, value in pairs if isinstance(row, int)]


def _place(row: int, shards: list[Entry]) -> str:
    """Return the shard that holds a row of all the data, and the row's number in it, from 1."""
    ends = list(itertools.accumulate(s.rows or 0 for s in shards))
    shard = bisect.bisect_right(ends, row)
    start = ends[shard - 1] if shard else 0
    return f"{shards[shard].path}:{row - start + 1}"


def _short(value: Any) -> str:
    """Return the value as JSON, so that data cannot break the line, and cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
