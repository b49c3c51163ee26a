"""Small tables as text, in states."""

import base64

import pyarrow as pa


def pack(table: pa.Table) -> str:
    """A small table as text, with its exact types."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def unpack(text: str) -> pa.Table:
    return pa.ipc.open_stream(base64.b64decode(text)).read_all()
