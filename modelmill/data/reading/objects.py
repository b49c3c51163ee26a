"""Objects of images as Hugging Face's ImageFolder has them: a column `objects` of boxes and their categories.

https://huggingface.co/docs/datasets/image_dataset#object-detection
"""

from typing import Any

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.reading import boxes
from modelmill.data.reading.boxes import BOXES, DECIMALS, LABELS

_OBJECTS, _BOX = "objects", "bbox"
# Names of the categories' list: that of the documentation, and that of many data sets.
_CATEGORIES = ("categories", "category")
# A note on a column of boxes that were made of objects: they are still to be checked against the images.
_NOTE = {b"boxes": b"of objects"}


def expanded(table: pa.Table, where: str, first: int) -> pa.Table:
    """Return a table with `boxes` and `labels` in the place of `objects`, if that column has boxes.

    Boxes of x, y, width and height become left, top, right and bottom; numbers of categories become texts.

    Args:
        table: Rows of a `metadata` table.
        where: Name of the file in errors.
        first: Number of the first row in the file.

    Raises:
        UserError: The column has boxes that do not fit, or the table has a column of its own with one of the names.
    """
    if _OBJECTS not in table.column_names or not _has_boxes(table.field(_OBJECTS).type):
        return table
    if taken := [name for name in (BOXES, LABELS) if name in table.column_names]:
        raise UserError(f"{where}: column {taken[0]!r} would be made of {_OBJECTS!r}; rename or drop one of both")
    made = [_of(value, f"{where}: row {row}") for row, value in enumerate(table[_OBJECTS].to_pylist(), first)]
    columns = boxes.columns(made)
    table = table.drop_columns([_OBJECTS])
    table = table.append_column(pa.field(BOXES, columns[BOXES].type, metadata=_NOTE), columns[BOXES])
    return table.append_column(LABELS, columns[LABELS])


def are_in(table: pa.Table) -> bool:
    """Return whether a table has boxes that `expanded` has made."""
    return BOXES in table.column_names and table.field(BOXES).metadata == _NOTE


def _has_boxes(type_: pa.DataType) -> bool:
    return bool(pa.types.is_struct(type_) and type_.get_field_index(_BOX) >= 0)


def _of(value: Any, where: str) -> boxes.Objects:
    value = value or {}
    found = value.get(_BOX)
    named = next((value[name] for name in _CATEGORIES if value.get(name) is not None), None)
    if not isinstance(found, list) or not isinstance(named, list) or len(found) != len(named):
        raise UserError(
            f"{where}: {_OBJECTS!r} has no lists {_BOX!r} and {_CATEGORIES[0]!r} of one length, empty ones where "
            "nothing is on the image; correct the row"
        )
    for box, name in zip(found, named, strict=True):
        if not isinstance(box, list) or len(box) != 4 or not all(map(boxes.is_number, box)):
            raise UserError(f"{where}: {_BOX} {box!r:.80} is not x, y, width and height; correct the row")
        if not isinstance(name, int | str) or isinstance(name, bool):
            raise UserError(f"{where}: category {name!r:.80} is neither a whole number nor a text; correct the row")
    sides = [(x, y, x + width, y + height) for x, y, width, height in found]
    return boxes.Objects([[float(round(side, DECIMALS)) for side in box] for box in sides], [str(n) for n in named])
