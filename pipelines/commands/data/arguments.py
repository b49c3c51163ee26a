"""Arguments of the commands that read data where it lies, and the shards that they name."""

from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from modelmill.core.errors import UserError

if TYPE_CHECKING:
    from modelmill.components.data_validation.api import ConversationRows
    from modelmill.corpus.text.conversations.detecting import Detected
    from modelmill.data.layouts.detecting import Found
    from modelmill.data.shard import Shard
    from modelmill.recipe.column_type import ColumnType
    from modelmill.recipe.layout import MediaKind

DataPath = Annotated[str, typer.Argument(help="A folder, a file, a glob pattern or s3://BUCKET/PREFIX.")]
Format = Annotated[str, typer.Option("--format", help="auto, jsonl, json, csv, parquet, arrow or text.")]
Columns = Annotated[
    list[str], typer.Option("--column", help="A column's type, such as zip=text; once for each column.")
]
Media = Annotated[str | None, typer.Option("--media", help="The shards name files of this kind: images or audio.")]
LayoutOption = Annotated[
    str | None, typer.Option("--layout", help="How the data lies, as in data.layout, such as coco; detected.")
]

PairsFrom = Annotated[
    str | None,
    typer.Option(
        "--pairs-from", help="Format of conversations in the rows, as in preprocessing.pairs.from, or none; detected."
    ),
]
PairsColumns = Annotated[
    list[str],
    typer.Option("--pairs-column", help="A column with another name, such as messages=dialog; once for each column."),
]


def find_layout(path: str, format_: str, media: str | None, layout: str | None) -> "Found":
    """Find out how data lies and what its rows name, by the options, else by the files.

    Raises:
        UserError: an option is wrong, or there is nothing.
    """
    from modelmill.data.layouts.detecting import Found, detect
    from modelmill.recipe.layout import LAYOUTS, media_of

    if media not in (None, "images", "audio"):
        raise UserError(f"--media {media}: images or audio")
    if layout not in (None, *LAYOUTS):
        raise UserError(f"--layout {layout}: {', '.join(LAYOUTS)}")
    tables = Found("table", cast("MediaKind | None", media))
    seen = (detect(path) if format_ == "auto" else tables) if layout is None else Found(layout)
    try:
        return Found(seen.layout, media_of(seen.layout, tables.media or seen.media))
    except ValueError as error:
        if layout is None:
            return tables
        raise UserError(f"--{error}") from None


def find_shards(path: str, format_: str, found: "Found", columns: list[str]) -> "list[Shard]":
    """Find the shards that a command is about.

    Rows whose file cannot be used are kept, as not readable: they are what is asked about.

    Raises:
        UserError: an option is wrong, or there are no shards.
    """
    from modelmill.data import shards
    from modelmill.data.shard import FORMATS

    media = found.media

    if format_ not in ("auto", *FORMATS.values()):
        raise UserError(f"--format {format_}: auto, jsonl, json, csv, parquet, arrow or text")
    if found.layout not in ("table", "metadata") and format_ != "auto":
        raise UserError(f"--format {format_}: layout {found.layout} has its own, leave it out")
    if media and format_ in ("text", "json", "arrow"):
        raise UserError(f"--format {format_}: a manifest of {media} is jsonl, csv or parquet")
    return shards.with_types(shards.find(path, format_, media, layout=found.layout), _types(columns))


def find_format(shards: "list[Shard]", format_: str | None, columns: list[str]) -> "Detected | None":
    """Find out the format of the conversations in rows, by the options, else by the columns of the first shard.

    Raises:
        UserError: an option is wrong.
    """
    from modelmill.components.data_validation.api import detect
    from modelmill.corpus.text.conversations.detecting import Detected
    from modelmill.corpus.text.conversations.formats import FORMATS

    if format_ not in (None, "none", *FORMATS):
        raise UserError(f"--pairs-from {format_}: {', '.join(FORMATS)} or none")
    if columns and format_ in (None, "none"):
        raise UserError(f"--pairs-column {columns[0]}: needs --pairs-from, the format whose column it is")
    if format_ is None:
        return detect(shards)
    if format_ == "none":
        return None
    chosen = {}
    for column in columns:
        standard, _, name = column.partition("=")
        known = [*FORMATS[format_].required, *FORMATS[format_].optional]
        if not name or standard not in known:
            raise UserError(f"--pairs-column {column}: write NAME=COLUMN, where NAME is {', '.join(known)}")
        chosen[standard] = name
    return Detected(format_, chosen)


def with_json(shards: "list[Shard]", held: "ConversationRows | None", columns: list[str]) -> "list[Shard]":
    """Return shards whose nested columns of conversations are read as JSON text, as a recipe's are.

    Args:
        shards: The shards.
        held: How their rows hold conversations.
        columns: Columns whose types the options choose.
    """
    from modelmill.data import shards as all_shards

    types: dict[str, ColumnType] = dict.fromkeys(held.nested if held else [], "text")
    return all_shards.with_types(shards, types | _types(columns))


def _types(columns: list[str]) -> "dict[str, ColumnType]":
    from modelmill.recipe.column_type import ColumnType

    types: dict[str, ColumnType] = {}
    for column in columns:
        name, _, type_ = column.rpartition("=")
        if not name or type_ not in get_args(ColumnType):
            raise UserError(f"--column {column}: write NAME=TYPE, where TYPE is {', '.join(get_args(ColumnType))}")
        types[name] = cast(ColumnType, type_)
    return types
