"""A text file as a table of one row."""

from collections.abc import Iterable

import pyarrow as pa

from modelmill.data.reading.blocks import TextBlock

BLOCK = 8 << 20


def table(blocks: Iterable[TextBlock], path: str) -> pa.Table:
    """Return a table of one row with the columns path, text and bytes, the length of the text in UTF-8.

    Args:
        blocks: Blocks of the file.
        path: Value of the column `path`.
    """
    text = "".join(block.text for block in blocks)
    return pa.table({"path": [path], "text": [text], "bytes": [len(text.encode())]})
