"""One pass over one shard, which yields a small JSON state and files of value counts."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from modelmill.components.data_validation import engine
from modelmill.components.data_validation.conversations import ConversationRows, Measuring
from modelmill.components.data_validation.engine import MetricLookup
from modelmill.components.data_validation.numbers import Numbers
from modelmill.components.data_validation.plan import Need, Plan
from modelmill.components.data_validation.profile import Profile
from modelmill.components.data_validation.rejections import Order, Piece, Rejections
from modelmill.components.data_validation.value_counts import ValueCountsWriter
from modelmill.core.errors import one_line
from modelmill.data import columns, shards
from modelmill.data.shard import Shard

State = dict[str, Any]


@dataclass(frozen=True)
class Pass:
    """What a pass looks for, and what is known before it.

    Attributes:
        plan: The needs of the suite.
        known: Looks up metrics of all the data; in a second pass.
        repeated: Needs by their value counts' key, each with the values whose rows are wanted as samples.
        profile: Whether to profile the distributions of all columns too.
        conversations: How the rows hold conversations, whose features are columns; None where they hold none.
    """

    plan: Plan
    known: MetricLookup = lambda metric: engine.MISSING
    repeated: dict[str, tuple[Need, pa.Table]] = field(default_factory=dict)
    profile: bool = False
    conversations: ConversationRows | None = None

    @property
    def name(self) -> str:
        """The name under which states of a first pass are kept."""
        further = f"+{self.conversations.key}" if self.conversations else ""
        return self.plan.digest + ("+profile" if self.profile else "") + further


def scan(shard: Shard, todo: Pass, folder: Path) -> State:
    """Return the state of a shard.

    Args:
        shard: The shard to read.
        todo: What to look for.
        folder: The folder for the files of value counts, which the state names.

    Raises:
        UserError: The shard cannot be read, or a row is no conversation where the recipe refuses such.
    """
    scanner, stream = _Scanner(todo, folder, shard.uri), shards.Stream(shard)
    measuring = Measuring(todo.conversations, shard.uri) if todo.conversations else None
    for piece in stream:
        scanner.add(measuring.add(piece) if measuring else piece)
    if measuring:
        measuring.finish()
    malformed = measuring.malformed if measuring else []
    media = shard.media
    dropped = (
        [one.row for one in malformed] if todo.conversations and todo.conversations.malformed == "leave_out" else []
    )
    dropped += [one.row for one in stream.unusable] if media and media.corrupt == "leave_out" else []
    found = {"sha256": stream.sha256, "unusable": stream.unusable, "malformed": malformed, "dropped": dropped}
    return scanner.state() | found


class _Scanner:
    def __init__(self, todo: Pass, folder: Path, where: str) -> None:
        self._todo, self._where = todo, where
        self._schema = pa.schema([])
        self._rows = 0
        self._nulls: dict[str, int] = {}
        plan = todo.plan
        self._counts = {key: {"rows": 0, "nulls": 0} for key in plan.counts}
        self._conditions = {key: Rejections(need) for key, need in plan.conditions.items()}
        self._ordered = {key: Order(need) for key, need in plan.ordered.items()}
        self._numbers = {key: Numbers() for key in plan.numbers}
        self._value_counts = {key: ValueCountsWriter(folder, key) for key in plan.value_counts}
        self._repeated = {key: Rejections(need) for key, (need, _) in todo.repeated.items()}
        self._profile = Profile()
        self._errors: dict[str, str] = {}

    def add(self, table: pa.Table) -> None:
        piece = _clean(table)
        self._schema = columns.joined(self._schema, columns.noted(piece), self._where)
        for name in piece.column_names:
            self._nulls[name] = self._nulls.get(name, 0) + piece[name].null_count
        looked = Piece(piece, self._rows, self._todo.known)
        for key, need in self._todo.plan.counts.items():
            with self._failing(key):
                self._count(self._counts[key], need, looked)
        for rejections in self._conditions.values():
            rejections.add(looked)
        for order in self._ordered.values():
            order.add(looked)
        for key, numbers in self._numbers.items():
            with self._failing(key):
                numbers.add(looked.values(self._todo.plan.numbers[key])[0])
        for key, writer in self._value_counts.items():
            with self._failing(key):
                values, rows = looked.counted(self._todo.plan.value_counts[key])
                writer.add(values, rows + self._rows)
        for key, rejections in self._repeated.items():
            rejections.add_rows(looked, looked.matching(*self._todo.repeated[key]))
        if self._todo.profile:
            self._profile.add(piece)
        self._rows += piece.num_rows

    def state(self) -> State:
        return {
            "rows": self._rows,
            "schema": columns.packed(self._schema),
            "nulls": self._nulls,
            "errors": self._errors,
            "counts": self._counts,
            "conditions": {key: r.state() for key, r in self._conditions.items()},
            "ordered": {key: o.state() for key, o in self._ordered.items()},
            "numbers": {key: n.state() for key, n in self._numbers.items()},
            "value_counts": {key: writer.close() for key, writer in self._value_counts.items()},
            "repeated": {key: r.state() for key, r in self._repeated.items()},
            "profile": self._profile.to_json(),
        }

    @contextlib.contextmanager
    def _failing(self, key: str) -> Iterator[None]:
        """Keep what cannot be computed of this data, such as a row condition that compares numbers with texts."""
        try:
            yield
        except (
            TypeError,
            ValueError,
            LookupError,
            NameError,
            SyntaxError,
            AttributeError,
            NotImplementedError,
        ) as error:
            self._errors.setdefault(key, one_line(error))

    def _count(self, count: dict[str, int], need: Need, piece: "Piece") -> None:
        rows = piece.domain(need)
        count["rows"] += piece.table.num_rows if rows is None else len(rows)
        if "column" in need.domain:
            column = piece.column(need.domain["column"])
            count["nulls"] += column.null_count if rows is None else column.take(rows).null_count


def _clean(table: pa.Table) -> pa.Table:
    """Return the table with NaN as null, as in pandas, with one zero, and with one chunk a column."""
    table = table.combine_chunks()
    if not table.num_columns:
        return table
    columns = [
        _clean_floats(column) if pa.types.is_floating(field_.type) else column
        for field_, column in zip(table.schema, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _clean_floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pc.any(pc.is_nan(column)).as_py():
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    # Zeros of both signs are equal, which Arrow's sets and groups do not know.
    return column if column.type == pa.float16() else pc.add(column, pa.scalar(0.0, column.type))
