"""The column of names in a table as Hugging Face's ImageFolder and AudioFolder have it (`file_name`)."""

import pyarrow as pa

from modelmill.core.errors import UserError

THEIRS, OURS = "file_name", "file"


def renamed(table: pa.Table, where: str) -> pa.Table:
    """Return a table whose column of file names is called as in a manifest.

    Args:
        table: Rows of a `metadata` table.
        where: Name of the file in errors.

    Raises:
        UserError: The column is missing, or a column has the name that it would get.
    """
    names = table.column_names
    if THEIRS not in names:
        raise UserError(f"{where}: no column {THEIRS!r} that names the files; its columns: {', '.join(names[:10])}")
    if OURS in names:
        raise UserError(f"{where}: it has both {THEIRS!r} and {OURS!r}; rename the second")
    return table.rename_columns([OURS if name == THEIRS else name for name in names])
