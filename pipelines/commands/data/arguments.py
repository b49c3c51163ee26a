"""Arguments of the commands that read data where it lies, and the shards that they name."""

from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from modelmill.core.errors import UserError

if TYPE_CHECKING:
    from modelmill.data.shard import Shard
    from modelmill.recipe.column_type import ColumnType

DataPath = Annotated[str, typer.Argument(help="A folder, a file, a glob pattern or s3://BUCKET/PREFIX.")]
Format = Annotated[str, typer.Option("--format", help="auto, jsonl, json, csv, parquet, arrow or text.")]
Columns = Annotated[
    list[str], typer.Option("--column", help="A column's type, such as zip=text; once for each column.")
]
Media = Annotated[str | None, typer.Option("--media", help="The shards name files of this kind: images or audio.")]


def find_shards(path: str, format_: str, media: str | None, columns: list[str]) -> "list[Shard]":
    """Find the shards that a command is about.

    Rows whose file cannot be used are kept, as not readable: they are what is asked about.

    Raises:
        UserError: an option is wrong, or there are no shards.
    """
    from modelmill.data import shards
    from modelmill.data.shard import FORMATS

    if format_ not in ("auto", *FORMATS.values()):
        raise UserError(f"--format {format_}: auto, jsonl, json, csv, parquet, arrow or text")
    if media not in (None, "images", "audio"):
        raise UserError(f"--media {media}: images or audio")
    if media and format_ in ("text", "json", "arrow"):
        raise UserError(f"--format {format_}: a manifest of {media} is jsonl, csv or parquet")
    return shards.with_types(shards.find(path, format_, media), _types(columns))  # type: ignore[arg-type]


def _types(columns: list[str]) -> "dict[str, ColumnType]":
    from modelmill.recipe.column_type import ColumnType

    types: dict[str, ColumnType] = {}
    for column in columns:
        name, _, type_ = column.rpartition("=")
        if not name or type_ not in get_args(ColumnType):
            raise UserError(f"--column {column}: write NAME=TYPE, where TYPE is {', '.join(get_args(ColumnType))}")
        types[name] = cast(ColumnType, type_)
    return types
