"""Shards that a run leaves out, why, and samples of their bad rows."""

from typing import Any, NamedTuple

from modelmill.components.data_validation import verdict
from modelmill.components.data_validation.conversations import MalformedRowsError
from modelmill.core.errors import GateFailed
from modelmill.data.shard import Shard
from modelmill.recipe.sections import Quarantine
from modelmill.store.manifest import Entry

_MAX_WHY, _MAX_VALUE = 300, 200


class LeftOut(NamedTuple):
    """A quarantined shard.

    Attributes:
        shard: The shard.
        rows: Number of rows; None where it cannot be read.
        why: Why it is left out.
        samples: Bad rows, each with its row (from 1), value and rule.
    """

    shard: Shard
    rows: int | None
    why: str
    samples: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the shard and why it is left out, as JSON."""
        shard = {"path": self.shard.path, "tag": self.shard.tag, "bytes": self.shard.bytes, "rows": self.rows}
        return shard | {"why": self.why, "samples": self.samples}


def unreadable(shard: Shard, error: Exception, samples: int) -> LeftOut:
    """Return the entry for a shard that cannot be read, or some of whose rows are no conversations.

    Args:
        shard: The shard.
        error: Why it cannot be read.
        samples: How many rows to keep.
    """
    why = str(error).removeprefix(f"{shard.uri}: ")[:_MAX_WHY]
    if not isinstance(error, MalformedRowsError):
        return LeftOut(shard, None, why, [])
    kept = [{"row": one.row, "value": one.sample, "rule": one.why} for one in error.malformed[:samples]]
    return LeftOut(shard, error.rows, why, kept)


def broken(shard: Shard, rows: int, results: list[dict[str, Any]], samples: int, dropped: list[int]) -> LeftOut:
    """Return the entry for a shard that breaks expectations.

    Args:
        shard: The shard.
        rows: Number of its rows.
        results: The results of the expectations that it breaks.
        samples: How many rows to keep for each.
        dropped: Numbers of the rows that the expectations did not see, from 1.
    """
    entry = [Entry(path=shard.path, sha256="0" * 64, bytes=shard.bytes, rows=rows)]
    why = "; ".join(f"{verdict.name(r)} {verdict.finding(r, entry, samples=0)}" for r in results)
    kept = []
    for result in results:
        details = result["result"]
        pairs = zip(
            details.get("partial_unexpected_index_list") or [],
            details.get("partial_unexpected_list") or [],
            strict=False,
        )
        kept += [
            {"row": verdict.row_in_shard(row, dropped), "value": _short(value), "rule": verdict.name(result)}
            for row, value in list(pairs)[:samples]
        ]
    return LeftOut(shard, rows, why[:_MAX_WHY], kept)


def enforce(left_out: list[LeftOut], policy: Quarantine, total: int) -> None:
    """Check that no more is left out than the policy tolerates.

    Raises:
        GateFailed: More is left out, or nothing is left.
    """
    rows = sum(one.rows or 0 for one in left_out)
    first = left_out[0] if left_out else None
    where = f"first {first.shard.path}: {first.why}; list them with modelmill data quarantine" if first else ""
    if len(left_out) > policy.shards:
        allowed = f"data.quarantine.shards allows {policy.shards}"
        raise GateFailed(f"{len(left_out)} of {total} shards are bad, {allowed}; {where}")
    if policy.rows is not None and rows > policy.rows:
        allowed = f"data.quarantine.rows allows {policy.rows}"
        raise GateFailed(f"the {len(left_out)} bad shards have {rows} rows, {allowed}; {where}")
    if len(left_out) == total:
        raise GateFailed(f"every shard is bad, all {total}; {where}")


def _short(value: Any) -> Any:
    return value if not isinstance(value, str) or len(value) <= _MAX_VALUE else value[: _MAX_VALUE - 3] + "..."
