"""CSV as tables: types are those that fit every value of the file, an empty field is null."""

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from modelmill.core.errors import UserError
from modelmill.data.reading.blocks import TextBlock
from modelmill.data.reading.parquet import distinct_columns

# Larger files are read twice: first for the types.
BLOCK = 64 << 20
# What Arrow takes a column for: the first of these that fits all of its values, or else text.
_TIMES = [pa.date32(), pa.timestamp("s"), pa.timestamp("ns")]


class Records(NamedTuple):
    """Whole records of a CSV file, with the header before them.

    Attributes:
        first: Line in the file of the text's first line.
        text: Header and records.
    """

    first: int
    text: str


def tables(start: Callable[[], Iterable[TextBlock]], where: str) -> Iterator[pa.Table]:
    """Yield one table a block.

    Args:
        start: Function that gives the file's blocks from the first; called again where there are several.
        where: Name of the file in errors.

    Raises:
        UserError: There is no header, rows are ragged, or a quote is never closed; the message names file and line.
    """
    records = _records(start(), where)
    first, second = next(records), next(records, None)
    types: dict[str, pa.DataType] | None = None
    if second is not None:
        settling = _Settling()
        for block in chain([first, second], records):
            settling.add(_parse(block, where, None))
        types = settling.types()
        records = _records(start(), where)
        first = next(records)
    for block in chain([first], records):
        table = _parse(block, where, types)
        yield pa.table({name: _empty_is_null(table[name]) for name in table.column_names})


class _Settling:
    """Types that Arrow would give the columns of a whole file, made out from the types of its parts."""

    def __init__(self) -> None:
        self._seen: dict[str, list[pa.DataType]] = {}
        self._are_bits: dict[str, bool] = {}

    def add(self, table: pa.Table) -> None:
        for name in table.column_names:
            column, seen = table[name], self._seen.setdefault(name, [])
            if column.type not in seen:
                seen.append(column.type)
            if pa.types.is_integer(column.type):
                within = pc.all(pc.is_in(column, pa.array([0, 1, None]))).as_py()
                self._are_bits[name] = self._are_bits.get(name, True) and within

    def types(self) -> dict[str, pa.DataType]:
        return {name: self._type(name, [t for t in seen if t != pa.null()]) for name, seen in self._seen.items()}

    def _type(self, name: str, seen: list[pa.DataType]) -> pa.DataType:
        if len(seen) < 2:
            return seen[0] if seen else pa.null()
        if all(t in (pa.int64(), pa.float64()) for t in seen):
            return pa.float64()
        if all(t in _TIMES for t in seen):
            return max(seen, key=_TIMES.index)
        if all(t in (pa.int64(), pa.bool_()) for t in seen) and self._are_bits[name]:
            return pa.bool_()  # Arrow reads 0 and 1 among truth values as such
        return pa.string()


def _parse(records: Records, where: str, types: dict[str, pa.DataType] | None) -> pa.Table:
    data = records.text.encode()
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # One block: Arrow refuses a row that is longer than its block of a megabyte.
            read_options=pyarrow.csv.ReadOptions(block_size=len(data) + 1, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types),
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


def _empty_is_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
