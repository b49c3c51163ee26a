"""Arrow's IPC files as tables, as `datasets.save_to_disk` writes them; memory does not grow with the file."""

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.ipc

from modelmill.core.errors import UserError
from modelmill.data.reading.blocks import Source, empty, refuse_bomb
from modelmill.data.reading.parquet import distinct_columns

# The first bytes of a file that has an index of its batches, and the last ones of a stream of batches.
_INDEXED, _END = b"ARROW1", b"\xff\xff\xff\xff\0\0\0\0"


def tables(source: Source) -> Iterator[pa.Table]:
    """Yield one table a batch, at least one.

    Args:
        source: File that can seek.

    Raises:
        UserError: The file is empty, cut off, broken, not Arrow's, or too large when expanded; the message names it.
    """
    size = source.file.seek(0, io.SEEK_END)
    if not size:
        raise empty(source.where)
    source.file.seek(-min(len(_END), size), io.SEEK_END)
    ending = source.file.read()
    source.file.seek(0)
    is_indexed = source.file.read(len(_INDEXED)) == _INDEXED
    if not ending.endswith(_INDEXED if is_indexed else _END):
        raise UserError(f"{source.where}: cut off or not Arrow; write the file again")
    source.file.seek(0)
    try:
        yield from _tables(source, is_indexed)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{source.where}: broken Arrow ({error}); write the file again") from None


def _tables(source: Source, is_indexed: bool) -> Iterator[pa.Table]:
    expanded = pieces = 0
    with pa.ipc.open_file(source.file) if is_indexed else pa.ipc.open_stream(source.file) as reader:
        nothing = distinct_columns(pa.Table.from_batches([], reader.schema), source.where)
        for batch in _batches(reader):
            batch.validate(full=True)
            expanded += batch.nbytes
            refuse_bomb(expanded, source)
            pieces += 1
            yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
        if not pieces:
            yield nothing.replace_schema_metadata(None)


def _batches(reader: "pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader") -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)
