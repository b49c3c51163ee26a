"""Conversations in rows: their features as columns, and the rows that are none."""

import json
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from modelmill.core import digest
from modelmill.core.errors import UserError, one_line
from modelmill.corpus.text.conversations import detecting, features, formats, names
from modelmill.corpus.text.conversations.detecting import Detected
from modelmill.corpus.text.conversations.formats import BadConversationError
from modelmill.data.shard import Shard, TableStream
from modelmill.recipe import Recipe

# Beside the features: whether a row is a conversation of its format, and why it is none.
PARSES, PROBLEM = "parses", "problem"
# Malformed rows of a shard of which a sample is kept, and its most characters.
_SAMPLES, _MAX_SAMPLE = 20, 200


class ConversationRows(NamedTuple):
    """How the rows of a data set hold conversations.

    Attributes:
        format: Format of the rows, as in `preprocessing.pairs.from`.
        columns: Names of columns by their standard names, where they differ.
        malformed: What happens to rows that are not of the format; who only looks at data keeps them.
    """

    format: str
    columns: tuple[tuple[str, str], ...] = ()
    malformed: Literal["refuse", "leave_out", "keep"] = "keep"

    @property
    def key(self) -> str:
        """Digest of the settings, a part of the name under which states are kept."""
        return digest.of_json(self)[:16]

    @property
    def nested(self) -> list[str]:
        """The columns that may hold lists or objects."""
        return names.nested(self.format, dict(self.columns))

    @property
    def added(self) -> dict[str, pa.DataType]:
        """The columns that are added to the rows, with their types."""
        typed = {name: pa.type_for_alias(alias) for name, alias in features.columns(self.format).items()}
        return {PARSES: pa.bool_(), PROBLEM: pa.string()} | typed


class MalformedRow(NamedTuple):
    """A row that is not of the format.

    Attributes:
        row: Number of the row, from 1.
        why: Why it is not.
        sample: Beginning of the row as JSON; empty for all but the first such rows of a shard.
    """

    row: int
    why: str
    sample: str


class MalformedRowsError(UserError):
    """An error: rows of a shard are not of the format.

    Attributes:
        rows: Number of the shard's rows.
        malformed: The rows that are not of the format.
    """

    def __init__(self, message: str, rows: int, malformed: list[MalformedRow]) -> None:
        """Say which in `message`, and keep the rows."""
        super().__init__(message)
        self.rows, self.malformed = rows, malformed


def of_recipe(recipe: Recipe) -> ConversationRows | None:
    """Return how the rows of a recipe's data hold conversations, None where they hold none.

    Args:
        recipe: The recipe, or what data validation may see of it.
    """
    pairs = getattr(recipe.preprocessing, "pairs", None)
    if pairs is None or pairs.source not in formats.FORMATS:
        return None
    return ConversationRows(pairs.source, tuple(sorted(pairs.columns.items())), pairs.malformed)


def detect(shards: list[Shard]) -> Detected | None:
    """Return the format that the columns of the first shard look like, None where they look like none."""
    if shards[0].media or shards[0].format == "text":
        return None
    return detecting.detect(next(iter(TableStream(shards[0]))))


def of_format(seen: Detected | None) -> ConversationRows | None:
    """Return how rows of a format hold conversations outside a run, None where they hold none."""
    if seen is None or seen.format not in formats.FORMATS:
        return None
    return ConversationRows(seen.format, tuple(sorted(seen.columns.items())))


def is_named(conversations: ConversationRows, suite: dict[str, Any]) -> bool:
    """Return whether a suite, which is checked, names a feature of conversations."""
    named = {name for one in suite["expectations"] for name in _named(one.get("kwargs", {}))}
    return bool(named & set(conversations.added))


def _named(kwargs: dict[str, Any]) -> list[str]:
    """Return the columns that an expectation's arguments name."""
    return [
        *(kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs),
        *kwargs.get("column_list", []),
    ]


class Measuring:
    """The features of one shard's rows, piece by piece, in order.

    Attributes:
        malformed: Rows so far that are not of the format.
        rows: Number of rows so far.
    """

    def __init__(self, conversations: ConversationRows, where: str) -> None:
        """Begin with a shard's first piece.

        Args:
            conversations: How its rows hold conversations.
            where: Name of the shard in errors.
        """
        self._conversations, self._where = conversations, where
        self._names = formats.columns(conversations.format, dict(conversations.columns))
        self._added = conversations.added
        self.malformed: list[MalformedRow] = []
        self.rows = 0

    def add(self, piece: pa.Table) -> pa.Table:
        """Return a piece with the features of its rows, without malformed rows if the recipe leaves them out.

        Args:
            piece: Rows of the shard.

        Raises:
            UserError: A column has the name of a feature.
        """
        if taken := [name for name in piece.column_names if name in self._added]:
            raise UserError(f"{self._where}: column {taken[0]!r} is what is measured of conversations; rename it")
        absent = self._absent(piece)
        measured = [self._measure(row, absent) for row in self._rows_of(piece)]
        for name, type_ in self._added.items():
            piece = piece.append_column(name, pa.array([row.get(name) for row in measured], type_))
        leaves_out = self._conversations.malformed == "leave_out" and not all(row[PARSES] for row in measured)
        return piece.filter(piece[PARSES]) if leaves_out else piece

    def finish(self) -> None:
        """Refuse a shard with malformed rows, if the recipe says so.

        Raises:
            MalformedRowsError: A row is not of the format.
        """
        if not self.malformed or self._conversations.malformed != "refuse":
            return
        first, count = self.malformed[0], len(self.malformed)
        more = f" ({count:,} of {self.rows:,} rows are malformed)" if count > 1 else ""
        raise MalformedRowsError(
            f"{self._where}: row {first.row}: {first.why}{more}; correct the data or preprocessing.pairs.from, now "
            f"{self._conversations.format}, or leave such rows out: --set preprocessing.pairs.malformed=leave_out",
            self.rows,
            self.malformed,
        )

    def _rows_of(self, piece: pa.Table) -> list[dict[str, Any]]:
        """Return the rows with the standard names of their columns; a column that is not there is left out."""
        there = {standard: piece[name] for standard, name in self._names.items() if name in piece.column_names}
        if not there:
            return [{} for _ in range(piece.num_rows)]
        rows: list[dict[str, Any]] = pa.table(there).to_pylist()
        return rows

    def _absent(self, piece: pa.Table) -> str:
        """Return why no row of a piece can be of the format: a column that is not there. Empty where all are."""
        required = formats.FORMATS[self._conversations.format].required
        names = [self._names[name] for name in required if self._names[name] not in piece.column_names]
        return f"there is no column {names[0]!r}; columns are {', '.join(piece.column_names)}" if names else ""

    def _measure(self, row: dict[str, Any], absent: str) -> dict[str, Any]:
        self.rows += 1
        try:
            example = formats.of_row(self._conversations.format, row)
        except BadConversationError as error:
            why = absent or one_line(error)
            sample = _sample(row) if len(self.malformed) < _SAMPLES else ""
            self.malformed.append(MalformedRow(self.rows, why, sample))
            return features.of_malformed(self._conversations.format, row) | {PARSES: False, PROBLEM: why}
        return features.features(example) | {PARSES: True}


def _sample(row: dict[str, Any]) -> str:
    said = {name: _as_json(value) for name, value in row.items() if value is not None}
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in said.items()) + "}"
    return text if len(text) <= _MAX_SAMPLE else text[: _MAX_SAMPLE - 3] + "..."


def _as_json(value: Any) -> str:
    """Return a value as JSON; nested ones may be that already."""
    is_json = isinstance(value, str) and value.startswith(("[", "{"))
    return str(value) if is_json else json.dumps(value, ensure_ascii=False, default=str)
