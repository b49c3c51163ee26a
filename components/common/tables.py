"""From the bytes of a shard to a table, or to the file and line that are wrong."""

import codecs
import contextlib
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from components.common.errors import UserError

# Small, so that the line at which a compressed file breaks is nearly exact.
_CHUNK = 1 << 13
# A shard that is larger than this after decompression is taken for a mistake or an attack.
MAX_EXPANDED = 4 << 30


def decode(data: bytes, format: str, compression: str | None, where: str, path: str) -> pa.Table:
    """Decompress and parse; `where` is the file's name in errors, `path` what a text shard's row is called.

    Raises:
        UserError: naming `where` and, in a format that has lines, the line.
    """
    plain = _decompress(data, compression, where, has_lines=format != "parquet")
    if not plain:
        raise UserError(f"{where}: empty (0 bytes); remove the file or write it again")
    if format == "parquet":
        return _parquet(plain, where)
    plain = plain.removeprefix(codecs.BOM_UTF8)
    text = _utf8(plain, where)
    if format == "jsonl":
        return _jsonl(text, where)
    if format == "csv":
        return _csv(plain, text, where)
    return pa.table({"path": [path], "text": [text], "bytes": [len(plain)]})


def _decompress(data: bytes, compression: str | None, where: str, has_lines: bool) -> bytes:
    if compression is None or not data:
        return data
    packed = io.BytesIO(data)
    stream: Any = gzip.GzipFile(fileobj=packed) if compression == "gz" else pa.CompressedInputStream(packed, "zstd")
    chunks: list[bytes] = []
    expanded = 0
    try:
        while chunk := stream.read(_CHUNK):
            chunks.append(chunk)
            expanded += len(chunk)
            if expanded > MAX_EXPANDED:
                limit = f"more than {MAX_EXPANDED / 2**30:g} GiB, and is {len(data):,} bytes now"
                raise UserError(f"{where}: expands to {limit}; split the file, if it is what it seems")
    except (EOFError, OSError, zlib.error) as error:
        newlines = sum(chunk.count(b"\n") for chunk in chunks)
        line = f":{newlines + 1}" if has_lines else ""
        what = "cut off" if isinstance(error, EOFError) or "Truncated" in str(error) else f"broken ({error})"
        raise UserError(f"{where}{line}: the {compression} stream is {what}; write the file again") from None
    return b"".join(chunks)


def _utf8(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}:{line}: not UTF-8 (byte 0x{data[error.start]:02x}); convert the file") from None


def parquet_pieces(path: str, rows: int) -> Iterator[pa.Table]:
    """A Parquet file in tables of at most `rows` rows, at least one; memory does not grow with the file.

    Raises:
        UserError: naming the file: cut off, broken, or not Parquet.
    """
    if not Path(path).stat().st_size:
        raise UserError(f"{path}: empty (0 bytes); remove the file or write it again")
    with _explaining(path, lambda: Path(path).open("rb")):
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            empty = _distinct_columns(file.schema_arrow.empty_table(), path)
            pieces = 0
            for batch in file.iter_batches(batch_size=rows, use_threads=False):
                pieces += 1
                yield pa.Table.from_batches([batch])
        if not pieces:
            yield empty


def _parquet(data: bytes, where: str) -> pa.Table:
    with _explaining(where, lambda: io.BytesIO(data)):
        table = pyarrow.parquet.read_table(pa.BufferReader(data))
    return _distinct_columns(table, where)


@contextlib.contextmanager
def _explaining(where: str, reopen: Callable[[], IO[bytes]]) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        with reopen() as file:
            file.seek(-min(4, file.seek(0, io.SEEK_END)), io.SEEK_END)
            what = f"broken Parquet ({error})" if file.read() == b"PAR1" else "cut off or not Parquet"
        raise UserError(f"{where}: {what}; write the file again") from None


# --- JSON lines


def _jsonl(text: str, where: str) -> pa.Table:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    cut_off_at = lines[-1][0] if lines and not text.endswith("\n") else None
    rows = [_json_object(line, f"{where}:{number}", number == cut_off_at) for number, line in lines]
    names = dict.fromkeys(key for row in rows for key in row)

    def column(name: str) -> pa.Array:
        return _array([row.get(name) for row in rows], lambda row: f"{where}:{lines[row][0]}", name)

    return pa.table({name: column(name) for name in names})


def _json_object(line: str, where: str, is_unfinished: bool) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "cut off in the middle of a line" if is_unfinished else f"not valid JSON ({error})"
        raise UserError(f"{where}: {what}; correct the file") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: a line holds one JSON object, this is {_json_type(value)}; correct the file")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _array(values: list[Any], where: Callable[[int], str], name: str) -> pa.Array:
    """A column from Python values; `where` names the place of a row in errors."""
    _refuse_other_types(values, where, name)
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise UserError(f"{where(_first_bad(values))}: column {name!r}: {error}; correct the value") from None


def _refuse_other_types(values: list[Any], where: Callable[[int], str], name: str) -> None:
    """Arrow would take `true` for 1.0 in a column of numbers; JSON types are told apart here."""
    if len({_json_type_of[t] for t in set(map(type, values))} - {"null"}) <= 1:
        return
    first = next((v for v in values if v is not None), None)
    for row, value in enumerate(values):
        if value is not None and _json_type(value) != _json_type(first):
            raise UserError(
                f"{where(row)}: column {name!r} has conflicting types: {_json_type(value)} here, "
                f"{_json_type(first)} before; make them equal"
            )


_json_type_of = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
_json_type_of[type(None)] = "null"


def _json_type(value: Any) -> str:
    return _json_type_of[type(value)]


def _first_bad(values: list[Any]) -> int:
    """The row of the first value that does not fit those before it, by bisection."""
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            pa.array(values[:middle])
            good = middle
        except (pa.ArrowException, OverflowError, UnicodeError):
            bad = middle
    return bad - 1


# --- CSV


def _csv(data: bytes, text: str, where: str) -> pa.Table:
    if '"' in text:
        _check_records(text, where)  # Arrow reads on to the end of the file from a quote that is never closed
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # One block: Arrow refuses a row that is longer than its block of a megabyte.
            read_options=pyarrow.csv.ReadOptions(block_size=len(data) + 1, use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        )
    except pa.ArrowException as error:
        _check_records(text, where)
        raise UserError(f"{where}:1: not a CSV file with a header ({error}); correct the file") from None
    table = _distinct_columns(table, where)
    return pa.table({name: _empty_is_null(table[name]) for name in table.column_names})


def _check_records(text: str, where: str) -> None:
    """Find the first record whose quotes are not closed or that has another number of fields than the header."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    try:
        for record in reader:
            header = header or record
            if record and len(record) != len(header):
                raise UserError(
                    f"{where}:{reader.line_num}: {len(record)} fields, the header has {len(header)}; correct the line"
                )
    except csv.Error as error:
        raise UserError(f"{where}:{reader.line_num}: not valid CSV ({error}); correct the line") from None


def _empty_is_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _distinct_columns(table: pa.Table, where: str) -> pa.Table:
    names = table.column_names
    for name in names:
        if not name or names.count(name) > 1:
            what = f"column {name!r} appears twice" if name else "a column has no name"
            raise UserError(f"{where}:1: {what}; rename it")
    return table
