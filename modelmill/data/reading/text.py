"""A text file as a table of one row."""

from collections.abc import Iterable

import pyarrow as pa

from modelmill.data.reading.blocks import TextBlock

BLOCK = 8 << 20


def table(blocks: Iterable[TextBlock], path: str) -> pa.Table:
    """The columns path, text and bytes (of the text in UTF-8)."""
    text = "".join(block.text for block in blocks)
    return pa.table({"path": [path], "text": [text], "bytes": [len(text.encode())]})
