"""JSON Lines as tables: columns are the union of the keys, a missing key is null."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.reading import json_rows
from modelmill.data.reading.blocks import TextBlock
from modelmill.data.reading.json_rows import Rows, json_type, refuse_constant

BLOCK = json_rows.BLOCK


def tables(blocks: Iterable[TextBlock], where: str, chosen: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Yield one table a block, at least one; a later table may have more columns or wider types.

    Args:
        blocks: Blocks of the file.
        where: Name of the file in errors.
        chosen: Types of columns that a person has chosen.

    Raises:
        UserError: A line is not JSON or no object, or values of a column have conflicting types; the message names file
            and line.
    """
    return json_rows.tables(_rows(blocks, where), where, chosen)


def _rows(blocks: Iterable[TextBlock], where: str) -> Iterator[Rows]:
    for block in blocks:
        lines = [(n, line) for n, line in enumerate(block.text.split("\n"), start=block.first) if line.strip()]
        cut_off_at = lines[-1][0] if lines and not block.text.endswith("\n") else None
        objects = [_object(line, f"{where}:{number}", number == cut_off_at) for number, line in lines]
        yield Rows(objects, [number for number, _ in lines])


def _object(line: str, where: str, is_unfinished: bool) -> dict[str, Any]:
    try:
        value = json.loads(line, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        what = "cut off in the middle of a line" if is_unfinished else f"not valid JSON ({error})"
        raise UserError(f"{where}: {what}; correct the file") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: a line holds one JSON object, this is {json_type(value)}; correct the file")
    return value
