"""Finding of manifests of images or audio in a folder or a bucket, each with the files that it names."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data import media_files as files
from modelmill.data.data_files import DataFile, listed
from modelmill.data.media_files import CorruptPolicy, Kind, Media
from modelmill.data.shard import COMPRESSIONS, FORMATS, Shard, TableStream

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "file"
# Formats of manifests.
_TABLES = ("jsonl", "csv", "parquet")


def manifests(path: str, format: str, kind: Kind) -> tuple[list[DataFile], dict[str, DataFile]]:
    """Return the files that are manifests by their suffix, and every file that one could name, by its URI.

    Args:
        path: A folder, a file, a glob pattern, or one of these below `s3://`.
        format: Format of the manifests, or `auto`.
        kind: What the files are that manifests name.

    Raises:
        UserError: Nothing is there, it cannot be read, or no file is a manifest.
    """
    listing = listed(path)
    named = [file for file in listing if _is_manifest(file, format)]
    if not named:
        suffixes = ", ".join(suffix for suffix, known in FORMATS.items() if known in _TABLES)
        raise UserError(
            f"data.path: {path}: no manifest there ({suffixes}), a table whose column {FILE!r} names the {kind}; for "
            "data that lies otherwise set data.layout (modelmill data profile tells it)"
        )
    root = named[0].uri.removesuffix(named[0].path)
    is_root = root.rstrip("/").endswith(path.removeprefix("file://").rstrip("/"))
    return named, {file.uri: file for file in (listing if is_root else listed(root))}


def with_files(shard: Shard, kind: Kind, corrupt: CorruptPolicy, there: Mapping[str, DataFile]) -> Shard:
    """Return a manifest as a shard with its files, whose tag changes with any of them.

    A manifest that cannot be read has no files; reading the shard says what is wrong with it.

    Args:
        shard: The manifest alone.
        kind: What its files are.
        corrupt: What happens to rows whose file is missing or broken.
        there: Files that it could name, by URI.
    """
    folder = shard.uri.rpartition("/")[0]
    names: set[str] = set()
    try:
        for piece in TableStream(shard):
            names |= set(_names(piece))
    except UserError:
        names = set()
    named = {name: there[uri] for name in names if (uri := f"{folder}/{name}") in there}
    return with_media(shard, kind, corrupt, named, names)


def with_media(
    shard: Shard, kind: Kind, corrupt: CorruptPolicy, there: Mapping[str, DataFile], names: Iterable[str]
) -> Shard:
    """Return a shard with the files that its rows name, whose tag changes with any of them.

    Args:
        shard: The shard alone.
        kind: What its files are.
        corrupt: What happens to rows whose file is missing or broken.
        there: Files by their names in rows.
        names: The names in its rows.
    """
    chosen: dict[str, DataFile] = {}
    missing: list[str] = []
    for name in sorted(set(names)):
        file = there.get(name)
        if file is not None and not file.tag:
            file = files.on_disk(file)
        if file is None:
            missing.append(name)
        else:
            chosen[name] = file
    tags = [[name, file.tag] for name, file in chosen.items()]
    media = Media(kind, corrupt, shard.tag, shard.bytes, chosen)
    size = shard.bytes + sum(file.bytes for file in {file.uri: file for file in chosen.values()}.values())
    return shard._replace(bytes=size, tag=digest.of_json([shard.tag, tags, missing]), media=media)


def usable(names: Iterable[object]) -> list[str]:
    """Return the names that are paths below a folder; the others are refused where their rows are read."""
    found = []
    for name in names:
        try:
            found.append(files.inside(name))
        except ValueError:
            continue
    return found


def _names(piece: "pa.Table") -> list[str]:
    if FILE not in piece.column_names:
        return []
    return usable(piece[FILE].unique().to_pylist())


def _is_manifest(file: DataFile, format: str) -> bool:
    name = PurePosixPath(file.path)
    if name.suffix.lower() in COMPRESSIONS:
        name = name.with_suffix("")
    known = FORMATS.get(name.suffix.lower(), "text")
    return known in _TABLES if format == "auto" else known == format
