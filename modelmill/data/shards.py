"""The files of a data set: finding them in a folder or a bucket, naming their content, reading them as tables."""

import fnmatch
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, cast

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data.data_files import DataFile, listed, with_size, with_tag
from modelmill.data.media_files import CorruptPolicy, Kind, Media
from modelmill.data.shard import COMPRESSIONS, FORMATS, Compression, Format, Shard, TableStream

if TYPE_CHECKING:
    import pyarrow as pa

    from modelmill.data.media.joining import UnusableRow
    from modelmill.recipe.column_type import ColumnType
    from modelmill.recipe.layout import Layout
    from modelmill.recipe.sections import Data

_HASHERS = 8
# What usually lies beside data; names that begin with . or _ are skipped anyway.
IGNORED = [
    *("readme*", "license*", "licence*", "copying*", "notice*", "citation*", "changelog*", "authors*", "makefile"),
    *("*.md", "*.rst", "*.html", "*.pdf", "*.json", "*.yaml", "*.yml", "*.toml", "*.py", "*.ipynb", "*.sh"),
    *(
        "*.crc",
        "*.md5",
        "*.sha1",
        "*.sha256",
        "*sums",
        "*.sha256sum",
        "*.log",
        "*.bak",
        "*.tmp",
        "thumbs.db",
        "cache-*.arrow",
    ),
]
# What usually lies beside data whose files are JSON themselves.
_DESCRIBING = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "package.json")


def of(data: "Data", hashed: bool = True) -> list[Shard]:
    """Return the shards of a recipe's data; see `find`.

    Args:
        data: The recipe's section `data`.
        hashed: Whether tags are wanted, or names alone.
    """
    found = find(data.path, data.format, data.media, data.corrupt_files, hashed, data.ignore, data.layout)
    return with_types(found, data.columns)


def with_types(shards: list[Shard], types: Mapping[str, "ColumnType"]) -> list[Shard]:
    """Return the shards with the types of some columns, which a person has chosen."""
    if not types:
        return shards
    from modelmill.data import columns

    schema = columns.chosen(types)
    return [shard._replace(schema=schema) for shard in shards]


def find(
    path: str,
    format: str,
    media: Kind | None = None,
    corrupt: CorruptPolicy = "keep",
    hashed: bool = True,
    ignore: list[str] | None = None,
    layout: "Layout" = "table",
) -> list[Shard]:
    """Return the shards at a place, in sorted order; names that begin with `.` or `_` are skipped.

    Args:
        path: A folder, which is searched in depth, a file, a glob pattern, or one of these below `s3://`.
        format: One of FORMATS' values, or `auto`: by suffix.
        media: Kind of the files that the shards name, if the shards are manifests.
        corrupt: What happens to rows whose file is missing or broken.
        hashed: Whether tags of files on disk are wanted, or names alone.
        ignore: Patterns of names of files that are no data; None for `IGNORED` under `auto`, where JSON files are data
            if there are no others.
        layout: How the data lies.

    Raises:
        UserError: Nothing is there, it cannot be read, or under `auto` a suffix is unknown or formats are mixed.
    """
    if layout != "table":
        from modelmill.data.layouts import finding as layouts

        return layouts.find(layout, path, media, corrupt, ignore)
    if media is None:
        files, ignored = _sorted_out(path, format, ignore)
        if not files and ignored:
            raise UserError(f"data.path: {path}: no data files there; {ignored[0].path} is none (data.ignore)")
        return _tables(path, format, files, hashed)
    from modelmill.data.media import finding

    named, there = finding.manifests(path, format, media)
    with ThreadPoolExecutor(_HASHERS) as pool:
        return list(pool.map(lambda s: finding.with_files(s, media, corrupt, there), _tables(path, format, named)))


def ignored(data: "Data") -> list[str]:
    """Return the names of the files beside a recipe's data that are no data."""
    if data.layout != "table":
        from modelmill.data.layouts import finding as layouts

        return layouts.unused(data.layout, data.path, data.ignore)
    return [] if data.media else sorted(file.path for file in _sorted_out(data.path, data.format, data.ignore)[1])


def _sorted_out(path: str, format: str, ignore: list[str] | None) -> tuple[list[DataFile], list[DataFile]]:
    """Return the data files at a place, and those that are no data. A file that is named itself is data."""
    files = listed(path)
    patterns = (IGNORED if format == "auto" else []) if ignore is None else ignore
    if len(files) == 1 and files[0].uri.endswith("/" + PurePosixPath(path).name):
        return files, []
    lists: tuple[list[DataFile], list[DataFile]] = [], []
    for file in files:
        names = (file.path.lower(), PurePosixPath(file.path).name.lower())
        lists[any(fnmatch.fnmatchcase(name, pattern.lower()) for name in names for pattern in patterns)].append(file)
    if format == "auto" and ignore is None and not lists[0]:
        arrays = [file for file in lists[1] if _is_json(file)]
        return arrays, [file for file in lists[1] if file not in arrays]
    return lists


def _is_json(file: DataFile) -> bool:
    name = PurePosixPath(file.path).name.lower()
    return name.endswith(".json") and name not in _DESCRIBING


def _tables(path: str, format: str, files: list[DataFile], hashed: bool = True) -> list[Shard]:
    if not files:
        raise UserError(f"data.path: {path}: no data files there (names that begin with . or _ are skipped)")
    files.sort()
    formats = [_format_of(file, format) for file in files]
    _refuse_mixed(files, [f for f, _ in formats])
    with ThreadPoolExecutor(_HASHERS) as pool:
        tagged = list(pool.map(with_tag if hashed else with_size, files))
    return [Shard(*file, *kind) for file, kind in zip(tagged, formats, strict=True)]


def fingerprint(shards: list[Shard]) -> str:
    """Return a digest of the shards' names and content, which is the same wherever the data's root lies."""
    return digest.of_json([_identity(shard) for shard in shards])


def _identity(shard: Shard) -> list[Any]:
    layout = [] if shard.layout == "table" else [shard.layout]
    return [shard.path, shard.tag, shard.bytes, shard.format, shard.compression, *layout]


def read(shard: Shard, sha256: str | None = None) -> tuple["pa.Table", str]:
    """Return a shard as a table, and the sha256 of its stored bytes.

    JSONL: columns are the union of the keys, a missing key is null. CSV: an empty field is null. Text: one row with
    the columns path, text and bytes.

    Args:
        shard: The shard.
        sha256: Digest that the bytes must have.

    Raises:
        UserError: The shard is cut off or broken, or values of a column have conflicting types, and the message names
            file and line; or its bytes have changed since it was found, or have another digest.
    """
    import pyarrow as pa

    from modelmill.data import columns

    stream = Stream(shard, sha256)
    pieces = list(stream)
    schema = pa.schema([])
    for piece in pieces:
        schema = columns.joined(schema, columns.noted(piece), shard.uri)
    whole = columns.bare(schema)
    pieces = [columns.conform(piece, whole, shard.uri) for piece in pieces]
    return pa.concat_tables(pieces, promote_options="default"), stream.sha256


class Stream(TableStream):
    """A `TableStream` whose rows of a manifest have more columns, measured of the files that it names.

    Attributes:
        unusable: Rows whose file is missing or broken, known after the last piece. They are not `readable`, and refused
            or left out if that is asked for.
        manifest: The sha256 of the manifest alone, known after the last piece; empty where there is none.
    """

    def __init__(self, shard: Shard, sha256: str | None = None) -> None:
        """Make the stream of a shard; see `TableStream`."""
        super().__init__(shard, sha256)
        self.unusable: list[UnusableRow] = []
        self.manifest = ""

    def __iter__(self) -> Iterator["pa.Table"]:
        """Yield the pieces."""
        media = self._shard.media
        return super().__iter__() if media is None else self._joined(media)

    def _joined(self, media: Media) -> Iterator["pa.Table"]:
        from modelmill.data.media.joining import Joining

        manifest = TableStream(alone(self._shard))
        joining = Joining(media, self._shard.uri, self._shard.layout)
        for piece in manifest:
            yield joining.add(piece)
        self._settle(joining.sha256(manifest.sha256))
        joining.finish()
        self.unusable, self.manifest = joining.unusable, manifest.sha256


def alone(shard: Shard) -> Shard:
    """Return a manifest without the files that it names."""
    media = shard.media
    return shard if media is None else shard._replace(bytes=media.size, tag=media.tag, media=None)


def _format_of(file: DataFile, format: str) -> tuple[Format, Compression | None]:
    name = PurePosixPath(file.path)
    compression = COMPRESSIONS.get(name.suffix.lower())
    suffix = (name.with_suffix("") if compression else name).suffix.lower()
    if format != "auto":
        return cast(Format, format), compression
    if suffix not in FORMATS:
        raise UserError(
            f"data.path: {file.uri}: unknown suffix {suffix!r}; known: {', '.join(FORMATS)} "
            f"(and {' or '.join(COMPRESSIONS)} after them), or set data.format"
        )
    return FORMATS[suffix], compression


def _refuse_mixed(files: list[DataFile], formats: list[Format]) -> None:
    for file, format in zip(files, formats, strict=True):
        if format != formats[0]:
            raise UserError(
                f"data.path: mixed formats: {files[0].path} is {formats[0]}, {file.path} is {format}; "
                "narrow data.path to one of them, for example with a glob pattern"
            )
