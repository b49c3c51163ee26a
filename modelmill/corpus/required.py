"""Columns that a recipe names, of which every row must have a value."""

import pyarrow as pa
import pyarrow.compute as pc

from modelmill.core.errors import UserError
from modelmill.data.shard import Shard


def require_column(table: pa.Table, shard: Shard, key: str, name: str, start: int = 0) -> None:
    """Check that rows have a column, and no null in it.

    Args:
        table: Rows of the shard.
        shard: The shard.
        key: The recipe's key that names the column.
        name: The column.
        start: How many rows came before.

    Raises:
        UserError: There is no such column, or a row has none of its values.
    """
    if name not in table.column_names:
        raise UserError(f"{key}: {shard.path} has no column {name!r}; its columns are {', '.join(table.column_names)}")
    position = int(pc.index(pc.is_null(table.column(name), nan_is_null=True), True).as_py())
    if position >= 0:
        raise UserError(f"{key}: {shard.path} row {start + position + 1}: column {name!r} is null")
