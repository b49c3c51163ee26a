"""The data against its contract: every row of every shard, in a run and outside one."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from components.common import shards
from components.common.errors import UserError
from components.common.manifest import Entry, Manifest
from components.common.shards import Shard

if TYPE_CHECKING:
    import pyarrow as pa

Progress = Callable[[float, float, str], None]


class Judgement(NamedTuple):
    """What was judged, and Great Expectations' verdict on it.

    dataset: manifest of the shards, where they lie. result: Great Expectations' result as JSON, without times or ids.
    """

    dataset: Manifest
    result: dict[str, Any]

    @property
    def success(self) -> bool:
        return bool(self.result["success"])

    def explain(self) -> str:
        """Why the data did not pass, on one line."""
        from components.data_validation import verdict

        return verdict.explain(self.result, self.dataset.entries)

    def findings(self) -> list[tuple[bool, str, str]]:
        """For each expectation whether it holds, its name with its columns, and what was found."""
        from components.data_validation import verdict

        shards = self.dataset.entries
        return [(r["success"], verdict.name(r), verdict.finding(r, shards)) for r in self.result["results"]]

    def data_docs(self) -> bytes:
        """Great Expectations' Data Docs as one HTML page."""
        from components.data_validation import data_docs

        return data_docs.render(self.result).encode()


def judge(path: str, found: list[Shard], suite: dict[str, Any], progress: Progress) -> Judgement:
    """Hold all rows of the shards against a suite.

    Args:
        path: where the shards were found, for messages. progress: is told how many shards are done, of how many.
    Raises:
        UserError: a shard is broken, the shards do not fit together, there is not one row, or the suite asks for what
            is not there.
    """
    from components.data_validation import judge as great_expectations

    entries, tables = _read(found, progress)
    table = _concatenate(found, tables)
    if not table.num_rows:
        raise UserError(f"data.path: {path}: {len(found)} shards and not one row; check data.path")
    checked = great_expectations.check_suite(suite, table.column_names)
    progress(len(entries), len(entries) + 1, f"validating {table.num_rows} rows")
    result = great_expectations.validate(checked, table)
    dataset = Manifest(kind="dataset", location="source", entries=entries, info=_info(found, table))
    return Judgement(dataset, result)


def _read(found: list[Shard], progress: Progress) -> tuple[list[Entry], list["pa.Table"]]:
    entries, tables = [], []
    for number, shard in enumerate(found):
        progress(number, len(found) + 1, f"reading {shard.path}")
        table, sha256 = shards.read(shard)
        entries.append(Entry(path=shard.path, sha256=sha256, bytes=shard.bytes, rows=table.num_rows))
        tables.append(table)
    return entries, tables


def _concatenate(found: list[Shard], tables: list["pa.Table"]) -> "pa.Table":
    import pyarrow as pa

    shards.unify([(shard, table.schema) for shard, table in zip(found, tables, strict=True)])
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:  # an integer that has no exact floating-point value
        raise UserError(f"data.path: the shards' columns cannot be joined: {error}; make the types equal") from None


def _info(found: list[Shard], table: "pa.Table") -> dict[str, Any]:
    columns = {field.name: str(field.type) for field in table.schema}
    return {"format": found[0].format, "rows": table.num_rows, "columns": columns}
