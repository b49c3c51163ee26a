"""CSV as tables: a column is numbers where every value of the file stays what it is as one, and an empty field null."""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv

from modelmill.core.errors import UserError
from modelmill.data.reading.blocks import TextBlock
from modelmill.data.reading.csv_types import Kind, as_type, kind_of
from modelmill.data.reading.parquet import distinct_columns

# Larger files are read twice: first for the types.
BLOCK = 16 << 20


class Records(NamedTuple):
    """Whole records of a CSV file, with the header before them.

    Attributes:
        first: Line in the file of the text's first line.
        text: Header and records.
    """

    first: int
    text: str


def tables(
    start: Callable[[], Iterable[TextBlock]], where: str, chosen: Mapping[str, pa.DataType] | None = None
) -> Iterator[pa.Table]:
    """Yield one table a block. Fields of columns whose type was made out have a note on their values (`columns.CSV`).

    Args:
        start: Function that gives the file's blocks from the first; called again where there are several.
        where: Name of the file in errors.
        chosen: Types of columns that need not be made out.

    Raises:
        UserError: There is no header, rows are ragged, a quote is never closed, or a value is none of its column's
            chosen type; the message names file and line.
    """
    records = _records(start(), where)
    first, second = next(records), next(records, None)
    kinds: dict[str, Kind] = {}
    several = second is not None
    for block in chain([first], [second] if second is not None else [], records):
        table = _parse(block, where)
        for name in table.column_names:
            if name not in (chosen or {}):
                kinds[name] = kinds.get(name, Kind()) | kind_of(table[name])
    if not several:
        yield _typed(table, first, where, kinds, chosen or {})
        return
    for block in _records(start(), where):
        yield _typed(_parse(block, where), block, where, kinds, chosen or {})


def _typed(
    table: pa.Table, records: Records, where: str, kinds: dict[str, Kind], chosen: Mapping[str, pa.DataType]
) -> pa.Table:
    """Return a table of strings with the columns' types."""
    fields, columns = [], []
    for name in table.column_names:
        field = kinds[name].field(name) if name in kinds else pa.field(name, chosen[name])
        try:
            columns.append(as_type(table[name], field.type))
        except pa.ArrowException as error:
            line = _line_of(records, _first_bad(table[name], field.type))
            raise UserError(f"{where}:{line}: column {name!r}: {error}; correct it or data.columns") from None
        fields.append(field)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _first_bad(column: pa.ChunkedArray, type_: pa.DataType) -> int:
    """Return the row of the first value that is none of the type, by bisection."""
    good, bad = 0, len(column)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            as_type(column.slice(good, middle - good), type_)
            good = middle
        except pa.ArrowException:
            bad = middle
    return good


def _line_of(records: Records, row: int) -> int:
    """Return the line in the file at which a row begins; the first one after the header is row 0."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(records.text, newline=""))
    passed, number = 0, -1
    for record in reader:
        if record and number == row:
            break
        number += bool(record)
        passed = reader.line_num
    return records.first + passed


def _parse(records: Records, where: str) -> pa.Table:
    """Return records as a table of strings."""
    data = records.text.encode()
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # One block: Arrow refuses a row that is longer than its block of a megabyte.
            read_options=pyarrow.csv.ReadOptions(block_size=len(data) + 1, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(default_column_type=pa.string()),
        )
    except pa.ArrowException as error:
        _check(records, where)
        raise UserError(f"{where}:1: not a CSV file with a header ({error}); correct the file") from None
    return distinct_columns(table, where)


def _records(blocks: Iterable[TextBlock], where: str) -> Iterator[Records]:
    """Yield blocks that end with a record, each with the file's header before it.

    Raises:
        UserError: A quote is never closed, or in a file with quotes a row is ragged.
    """
    header, held = "", TextBlock(1, "")
    for block in blocks:
        text = held.text + block.text
        first = held.first if held.text else block.first
        end = _end_of_records(text)
        held = TextBlock(first + text.count("\n", 0, end), text[end:])
        if end:
            yield _checked(first, text[:end], header, where)
            header = header or _header(text)
    if held.text or not header:
        yield _checked(held.first, held.text, header, where)


def _checked(first: int, text: str, header: str, where: str) -> Records:
    records = Records(first - header.count("\n"), header + text)
    if '"' in text:
        _check(records, where)  # Arrow reads on to the end of the file from a quote that is never closed
    return records


def _end_of_records(text: str) -> int:
    """Return where the last whole record ends: after a line whose end is not within quotes."""
    if '"' not in text:
        return text.rfind("\n") + 1
    passed = end = 0

    def lines() -> Iterator[str]:
        nonlocal passed
        for line in io.StringIO(text, newline=""):
            passed += len(line)
            yield line

    csv.field_size_limit(sys.maxsize)
    try:
        for _ in csv.reader(lines(), strict=True):
            end = passed
    except csv.Error:
        pass  # within the record that goes on, or wrong: then it is said when no more comes
    return end


def _header(text: str) -> str:
    """Return the text up to the end of its first record that is not blank."""
    passed = 0

    def lines() -> Iterator[str]:
        nonlocal passed
        for line in io.StringIO(text, newline=""):
            passed += len(line)
            yield line

    next((record for record in csv.reader(lines()) if record), None)
    return text[:passed]


def _check(records: Records, where: str) -> None:
    """Refuse the first record whose quotes are not closed or that has another number of fields than the header."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(records.text, newline=""), strict=True)
    before = records.first - 1
    header: list[str] = []
    try:
        for record in reader:
            header = header or record
            if record and len(record) != len(header):
                line = before + reader.line_num
                raise UserError(f"{where}:{line}: {len(record)} fields, the header has {len(header)}; correct the line")
    except csv.Error as error:
        raise UserError(f"{where}:{before + reader.line_num}: not valid CSV ({error}); correct the line") from None
