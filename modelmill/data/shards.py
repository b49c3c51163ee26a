"""The files of a data set: finding them in a folder or a bucket, naming their content, reading them as tables."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, cast

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data import digest_cache
from modelmill.data.data_files import Found, listed, open_file, with_size, with_tag
from modelmill.data.media.files import CorruptPolicy, Kind, Media

if TYPE_CHECKING:
    import pyarrow as pa

    from modelmill.data.media.joining import UnusableRow
    from modelmill.recipe.sections import Data

Format = Literal["jsonl", "csv", "parquet", "text"]
Compression = Literal["gz", "zst"]
FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}
# Rows that are held in memory at once.
CHUNK_ROWS = 65_536
_HASHERS = 8


class Shard(NamedTuple):
    """One file of a data set.

    `path` is POSIX and relative to the data's root, `uri` an absolute file path or `s3://bucket/key`. `tag` changes
    with the content: the sha256 of a file (empty where only names were asked for), the ETag of an S3 object. `bytes` are those stored, before decompression.
    A manifest of images or audio is one shard with the files that it names, which are its `media`: `tag`, `bytes` and
    its sha256 are of all of them.
    """

    path: str
    uri: str
    bytes: int
    tag: str
    format: Format
    compression: Compression | None
    media: Media | None = None


def of(data: "Data", hashed: bool = True) -> list[Shard]:
    """Return the shards of a recipe's data, as `find` finds them."""
    return find(data.path, data.format, data.media, data.corrupt_files, hashed)


def find(
    path: str, format: str, media: Kind | None = None, corrupt: CorruptPolicy = "keep", hashed: bool = True
) -> list[Shard]:
    """The shards at a folder (searched in depth), a file, a glob pattern, or the same below `s3://`, in sorted order.

    Names that begin with `.` or `_` are skipped. `format` is one of FORMATS' values, or `auto`: by suffix.

    Args:
        media: what the files are that the shards, which are manifests then, name. corrupt: what becomes of rows whose
            file is missing or broken. hashed: whether the content of files on disk is wanted, and not only names.
    Raises:
        UserError: nothing is there, it cannot be read, or under `auto` a suffix is unknown or formats are mixed.
    """
    if media is None:
        return _tables(path, format, listed(path), hashed)
    from modelmill.data.media import finding

    named, there = finding.manifests(path, format, media)
    with ThreadPoolExecutor(_HASHERS) as pool:
        return list(pool.map(lambda s: finding.with_files(s, media, corrupt, there), _tables(path, format, named)))


def _tables(path: str, format: str, found: list[Found], hashed: bool = True) -> list[Shard]:
    if not found:
        raise UserError(f"data.path: {path}: no data files there (names that begin with . or _ are skipped)")
    found.sort()
    formats = [_format_of(file, format) for file in found]
    _refuse_mixed(found, [f for f, _ in formats])
    with ThreadPoolExecutor(_HASHERS) as pool:
        tagged = list(pool.map(with_tag if hashed else with_size, found))
    return [Shard(*file, *kind) for file, kind in zip(tagged, formats, strict=True)]


def fingerprint(shards: list[Shard]) -> str:
    """A digest of the names and the content of the shards; the same wherever the data's root lies."""
    return digest.of_json([[s.path, s.tag, s.bytes, s.format, s.compression] for s in shards])


def read(shard: Shard, sha256: str | None = None) -> tuple["pa.Table", str]:
    """The shard as a table, and the sha256 of its stored bytes.

    JSONL: columns are the union of the keys, a missing key is null. CSV: an empty field is null. Text: one row with
    the columns path, text and bytes.

    Raises:
        UserError: naming file and line: cut off, broken, or with values of conflicting types in one column; or the
            bytes are no longer those that were found, or those that `sha256` names.
    """
    import pyarrow as pa

    stream = Stream(shard, sha256)
    return pa.concat_tables(list(stream), promote_options="permissive"), stream.sha256


class Stream:
    """The shard in pieces of at most CHUNK_ROWS rows, in order; of an empty shard one piece without rows.

    Memory does not grow with the shard, but for a text, which is one row. A later piece of JSON Lines may have more
    columns or wider types. `sha256`, of the stored bytes, is known after the last piece. Errors are those of `read`.
    Rows of a manifest of images or audio have more columns, measured of their files. `unusable`, known then, too, are
    those whose file is missing or broken: they are not `readable`, and refused or left out if that is asked for.
    """

    def __init__(self, shard: Shard, sha256: str | None = None) -> None:
        self._shard = shard
        # A file's tag is its digest.
        is_digest = shard.media is None and not is_remote(shard.uri)
        self._wanted = {sha256, shard.tag if is_digest else None} - {None, ""}
        self.sha256 = ""
        self.unusable: list[UnusableRow] = []

    def __iter__(self) -> Iterator["pa.Table"]:
        shard = self._shard
        if shard.media is not None:
            yield from self._joined(shard.media)
            return
        with open_file(shard.uri, shard.tag, shard.bytes) as file:
            try:
                for table in self._tables(file):
                    if not table.num_columns:  # a slice of it would claim rows
                        yield table
                        continue
                    for start in range(0, max(table.num_rows, 1), CHUNK_ROWS):
                        yield table.slice(start, CHUNK_ROWS)
            except UserError:
                file.seek(0)
                self._settle(digest.of_stream(file))  # bytes that have changed are the better explanation
                raise

    def _joined(self, media: Media) -> Iterator["pa.Table"]:
        from modelmill.data.media.joining import Joining

        manifest = Stream(self._shard._replace(bytes=media.size, tag=media.tag, media=None))
        joining = Joining(media, self._shard.uri)
        for piece in manifest:
            yield joining.add(piece)
        self._settle(joining.sha256(manifest.sha256))
        joining.finish()
        self.unusable = joining.unusable

    def _tables(self, file: BinaryIO) -> Iterator["pa.Table"]:
        from modelmill.data.reading import delimited, json_lines, parquet, text
        from modelmill.data.reading.blocks import Hashing, Source, TextBlock, blocks, chunks

        shard = self._shard
        if shard.format == "parquet":
            before = "" if is_remote(shard.uri) else digest_cache.status(Path(shard.uri))
            self._settle(digest_cache.of_file(Path(shard.uri)) if before else digest.of_stream(file))
            file.seek(0)
            source = Source(file, shard.compression, shard.uri, shard.bytes)
            if shard.compression:
                source = source._replace(file=io.BytesIO(b"".join(chunks(source, has_lines=False))))
            yield from parquet.tables(source, CHUNK_ROWS)
            if before and digest_cache.status(Path(shard.uri)) != before:
                raise UserError(f"{shard.uri}: changed while it was read; run again")
            return
        hashing = Hashing(file)
        source = Source(cast(BinaryIO, hashing), shard.compression, shard.uri, shard.bytes)
        if shard.format == "jsonl":
            yield from json_lines.tables(blocks(source, json_lines.BLOCK), shard.uri)
        elif shard.format == "csv":
            again = source._replace(file=file)

            def start() -> Iterator[TextBlock]:
                is_first = file.tell() == 0
                file.seek(0)
                return blocks(source if is_first else again, delimited.BLOCK)

            yield from delimited.tables(start, shard.uri)
        else:
            yield text.table(blocks(source, text.BLOCK), shard.path)
        self._settle(hashing.hexdigest())

    def _settle(self, sha256: str) -> None:
        if self._wanted - {sha256}:
            raise UserError(f"{self._shard.uri}: changed since it was validated; run again")
        self.sha256 = sha256


def is_remote(uri: str) -> bool:
    """Return whether a shard lies in S3."""
    return uri.startswith("s3://")


def unify(schemas: list[tuple[Shard, "pa.Schema"]]) -> "pa.Schema":
    """One schema for all shards: columns are united, null gives way to any type, integer to floating point.

    Raises:
        UserError: a shard's column has a type that the shards before it rule out.
    """
    import pyarrow as pa

    united = pa.schema([])
    for shard, schema in schemas:
        try:
            united = pa.unify_schemas([united, schema], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            name = next(n for n in schema.names if n in united.names and not _fit(united.field(n), schema.field(n)))
            raise UserError(
                f"{shard.uri}: column {name!r} is {schema.field(name).type}, in the shards before it "
                f"{united.field(name).type}; make the types equal"
            ) from None
    return united


def _fit(first: "pa.Field", second: "pa.Field") -> bool:
    import pyarrow as pa

    try:
        pa.unify_schemas([pa.schema([first]), pa.schema([second])], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def _format_of(file: Found, format: str) -> tuple[Format, Compression | None]:
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


def _refuse_mixed(found: list[Found], formats: list[Format]) -> None:
    for file, format in zip(found, formats, strict=True):
        if format != formats[0]:
            raise UserError(
                f"data.path: mixed formats: {found[0].path} is {formats[0]}, {file.path} is {format}; "
                "narrow data.path to one of them, for example with a glob pattern"
            )
