"""The rows that a model is asked: JSON Lines or CSV, checked against the columns that it reads."""

import contextlib
import csv
import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any

from modelmill.core.errors import UserError
from modelmill.pipelines.models.package_check import Column

STDIN = "-"
CSV = ".csv"
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*", re.ASCII)
BOM = b"\xef\xbb\xbf"
Row = dict[str, Any]


@contextlib.contextmanager
def readable(given: str) -> Iterator[IO[bytes]]:
    """Yield the input as a file that can be read twice: standard input is kept in a temporary one.

    Raises:
        UserError: There is no such file, or it cannot be read.
    """
    try:
        if given != STDIN:
            with open(given, "rb") as file:
                yield file
            return
        with tempfile.TemporaryFile() as kept:
            shutil.copyfileobj(sys.stdin.buffer, kept)
            kept.seek(0)
            yield kept
    except OSError as error:
        raise UserError(f"{given}: cannot be read ({error.strerror})") from error


def read(file: IO[bytes], name: str, columns: list[Column]) -> Iterator[Row]:
    """Yield the rows from the beginning, with the model's columns alone: of CSV by the file's name, else of JSON Lines.

    Args:
        file: The input.
        name: Its name.
        columns: The columns that the model reads.

    Raises:
        UserError: A line is not a row, or lacks a column, or a value has another type; with its number.
    """
    file.seek(0)
    located = _of_csv(file, name, columns) if name.lower().endswith(CSV) else _of_json_lines(file, name)
    for where, row in located:
        yield _known(row, columns, where)


def count(rows: Iterator[Row], name: str) -> int:
    """Return how many rows there are, after all of them were read and checked.

    Args:
        rows: The rows, as `read` yields them.
        name: The input's name.

    Raises:
        UserError: As `read`, or there is none.
    """
    number = sum(1 for _ in rows)
    if not number:
        where = "standard input" if name == STDIN else name
        raise UserError(f"{where}: no rows in it; write a JSON object a line, or CSV with a header")
    return number


def _of_json_lines(file: IO[bytes], name: str) -> Iterator[tuple[str, Row]]:
    """Yield each row, and where it is; empty lines are none."""
    for number, line in enumerate(file, 1):
        if line.strip():
            where = f"{'standard input' if name == STDIN else name}: line {number}"
            yield where, _parse(line.removeprefix(BOM), where)


def _of_csv(file: IO[bytes], name: str, columns: list[Column]) -> Iterator[tuple[str, Row]]:
    """Yield each row, and where it is; a cell is what the model's column says, where it can be read as that."""
    kinds = {column.name: column.type for column in columns}
    reader = csv.DictReader((line.removeprefix(BOM).decode() for line in file), strict=True)
    try:
        names = list(reader.fieldnames or [])
        if twice := [column for column in kinds if names.count(column) > 1]:
            raise UserError(f"{name}: line 1: {twice[0]!r} is there twice; the model reads that column")
        for cells in reader:
            where = f"{name}: line {reader.line_num}"
            if None in cells or None in cells.values():
                raise UserError(f"{where}: it has not as many values as the header")
            yield where, {key: _cell(cell, kinds.get(key, "string")) for key, cell in cells.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read as CSV in UTF-8 ({error})") from error


def _cell(cell: str, kind: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}.get(cell.lower(), cell)
    # Python would also take 1_000, and digits of every script.
    is_number = kind != "string" and _NUMBER.fullmatch(cell)
    for number in (int, float) if is_number else ():
        with contextlib.suppress(ValueError):
            return number(cell)
    return cell


def _parse(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 ({error.reason})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}); write one JSON object a line") from error
    if not isinstance(row, dict):
        raise UserError(f'{where}: not a JSON object; write one a line, such as {{"column": 1.5}}')
    return row


def _known(row: Row, columns: list[Column], where: str) -> Row:
    """Return the columns of a row that the model reads; null is none of one that a row may lack."""
    lacking = {column.name for column in columns if not column.is_required and row.get(column.name) is None}
    if len(lacking) == len(columns):
        raise UserError(f"{where}: no {columns[0].name!r} in it; the model reads that column")
    return {column.name: _value(row, column, where) for column in columns if column.name not in lacking}


def _value(row: Row, column: Column, where: str) -> Any:
    if column.name not in row:
        raise UserError(f"{where}: no {column.name!r} in it; the model reads that column")
    value = row[column.name]
    if column.type in _KINDS:
        kind, is_one = _KINDS[column.type]
        if not is_one(value):
            raise UserError(f"{where}: {column.name!r} is {_short(value)}, not {kind}")
        if column.type in ("long", "integer"):
            return int(value)
    return value


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(float(value))
    except OverflowError:
        return False


def _is_whole(bits: int) -> Callable[[Any], bool]:
    return lambda value: _is_number(value) and value == int(value) and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


def _is_text(value: Any) -> bool:
    """Return whether a value is text; half of a surrogate pair is none."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "double": ("a number", _is_number),
    "float": ("a number", _is_number),
    "long": ("a whole number", _is_whole(64)),
    "integer": ("a whole number", _is_whole(32)),
    "string": ("text", _is_text),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "array": ("a list", lambda value: isinstance(value, list)),
}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
