"""Small tables as text, for states."""

import base64

import pyarrow as pa


def pack(table: pa.Table) -> str:
    """Return a small table as text, with its exact types."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return base64.b64encode(sink.getvalue()).decode()


def unpack(text: str) -> pa.Table:
    """Return the table that `pack` made text of."""
    return pa.ipc.open_stream(base64.b64decode(text)).read_all()
