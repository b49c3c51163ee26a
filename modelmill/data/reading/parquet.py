"""Parquet as tables of so many rows; memory does not grow with the file."""

import contextlib
import io
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from modelmill.core.errors import UserError
from modelmill.data.reading.blocks import Source, empty, refuse_bomb


def tables(source: Source, rows: int) -> Iterator[pa.Table]:
    """Yield tables of at most `rows` rows, at least one.

    Args:
        source: File that can seek.
        rows: Most rows of a table.

    Raises:
        UserError: The file is empty, cut off, broken, not Parquet, or a row group is too large; the message names it.
    """
    if not source.file.seek(0, io.SEEK_END):
        raise empty(source.where)
    source.file.seek(0)
    with _explaining(source.file, source.where), pyarrow.parquet.ParquetFile(source.file, pre_buffer=False) as file:
        for group in range(file.metadata.num_row_groups):
            refuse_bomb(file.metadata.row_group(group).total_byte_size, source)
        schema = distinct_columns(file.schema_arrow.empty_table(), source.where)
        pieces = 0
        for batch in file.iter_batches(batch_size=rows, use_threads=False):
            pieces += 1
            yield pa.Table.from_batches([batch])
        if not pieces:
            yield schema


def distinct_columns(table: pa.Table, where: str) -> pa.Table:
    """Return the table, whose columns must have names that differ.

    Args:
        table: The table.
        where: Name of the file in errors.

    Raises:
        UserError: A column has no name, or that of another.
    """
    counts = Counter(table.column_names)
    for name, count in counts.items():
        if not name or count > 1:
            what = f"column {name!r} appears twice" if name else "a column has no name"
            raise UserError(f"{where}:1: {what}; rename it")
    return table


@contextlib.contextmanager
def _explaining(file: BinaryIO, where: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        file.seek(-min(4, file.seek(0, io.SEEK_END)), io.SEEK_END)
        what = f"broken Parquet ({error})" if file.read() == b"PAR1" else "cut off or not Parquet"
        raise UserError(f"{where}: {what}; write the file again") from None
