"""One file of a data set, and its rows as tables."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, cast

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data import digest_cache
from modelmill.data.data_files import open_file
from modelmill.data.listing import Listing
from modelmill.data.media_files import Media

if TYPE_CHECKING:
    import pyarrow as pa

    from modelmill.recipe.layout import Layout

# The last ones are of layouts that are no tables; `listing` is a folder without a file that lists its rows.
Format = Literal[
    "jsonl", "json", "csv", "parquet", "arrow", "text", "coco", "voices", "transcripts", "conll", "tar", "listing"
]
Compression = Literal["gz", "zst"]
FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}
# Formats whose digest is of what is read of the shard, and not of a file's bytes.
_OWN_DIGEST = ("tar", "listing")
# Rows that are held in memory at once.
CHUNK_ROWS = 65_536


class Shard(NamedTuple):
    """One file of a data set.

    A manifest of images or audio is one shard with the files that it names: its tag, bytes and sha256 are of them all.

    Attributes:
        path: POSIX, relative to the data's root.
        uri: An absolute file path or `s3://bucket/key`.
        bytes: Size as it is stored, before decompression.
        tag: Text that changes with the content: the sha256 of a file, the ETag of an S3 object. Empty where only names
            were asked for.
        format: One of FORMATS' values, or of a layout.
        compression: One of COMPRESSIONS' values.
        media: The files that a manifest names.
        schema: The types of its columns, as far as they are known before it is read: those of all shards, or those that
            the recipe chooses.
        layout: How the data lies that it is part of.
        listing: The rows of a folder that is a shard without a file.
    """

    path: str
    uri: str
    bytes: int
    tag: str
    format: Format
    compression: Compression | None
    media: Media | None = None
    schema: "pa.Schema | None" = None
    layout: "Layout" = "table"
    listing: Listing | None = None


class TableStream:
    """The rows of a shard in pieces of at most CHUNK_ROWS rows, in order; of an empty shard one piece without rows.

    Memory does not grow with the shard, but for a text, which is one row. A later piece of JSON Lines may have more
    columns or wider types. The bytes are checked while they are read.

    Attributes:
        sha256: Digest of the stored bytes, known after the last piece.
    """

    def __init__(self, shard: Shard, sha256: str | None = None) -> None:
        """Make the stream of a shard; iterating raises what `shards.read` raises.

        Args:
            shard: What to read. Of a manifest, the rows are read and its files are not.
            sha256: The digest that the bytes must have.
        """
        self._shard = shard
        # A file's tag is its digest.
        is_digest = shard.media is None and shard.format not in _OWN_DIGEST and not is_remote(shard.uri)
        self._wanted = {sha256, shard.tag if is_digest else None} - {None, ""}
        self.sha256 = ""

    def __iter__(self) -> Iterator["pa.Table"]:
        """Yield the pieces."""
        shard = self._shard
        if shard.listing is not None:
            yield from self._sliced(self._listed(shard.listing))
            return
        with open_file(shard.uri, shard.tag, shard.bytes) as file:
            try:
                yield from self._sliced(self._tables(file))
            except UserError:
                if shard.format not in _OWN_DIGEST:
                    file.seek(0)
                    self._settle(digest.of_stream(file))  # bytes that have changed are the better explanation
                raise

    def _sliced(self, tables: Iterator["pa.Table"]) -> Iterator["pa.Table"]:
        """Yield tables in pieces, with the names of a layout's columns and the types that are known."""
        from modelmill.data.columns import conform
        from modelmill.data.reading import file_names, objects

        shard, rows = self._shard, 0
        for table in tables:
            if shard.layout == "metadata":
                table = objects.expanded(file_names.renamed(table, shard.uri), shard.uri, rows + 1)
                rows += table.num_rows
            if shard.schema is not None:
                table = conform(table, shard.schema, shard.uri)
            if not table.num_columns:  # a slice of it would claim rows
                yield table
                continue
            for start in range(0, max(table.num_rows, 1), CHUNK_ROWS):
                yield table.slice(start, CHUNK_ROWS)

    def _listed(self, listing: Listing) -> Iterator["pa.Table"]:
        from modelmill.data.reading import listed

        rows = listed.Rows(listing, CHUNK_ROWS)
        yield from rows
        self._settle(rows.sha256)

    def _tables(self, file: BinaryIO) -> Iterator["pa.Table"]:
        from modelmill.data.reading import coco, conll, delimited, json_array, json_lines, text, voices
        from modelmill.data.reading.blocks import Hashing, Source, TextBlock, blocks

        shard = self._shard
        if shard.format in ("parquet", "arrow", "tar"):
            yield from self._samples(file) if shard.format == "tar" else self._seeking(file)
            return
        hashing = Hashing(file)
        source = Source(cast(BinaryIO, hashing), shard.compression, shard.uri, shard.bytes)
        chosen = dict(zip(shard.schema.names, shard.schema.types, strict=True)) if shard.schema is not None else {}
        if shard.format == "jsonl":
            yield from json_lines.tables(blocks(source, json_lines.BLOCK), shard.uri, chosen)
        elif shard.format == "json":
            yield from json_array.tables(source, chosen)
        elif shard.format == "csv":
            again = source._replace(file=file)

            def start() -> Iterator[TextBlock]:
                is_first = file.tell() == 0
                file.seek(0)
                return blocks(source if is_first else again, delimited.BLOCK)

            yield from delimited.tables(start, shard.uri, chosen)
        elif shard.format == "coco":
            yield from coco.tables(source)
        elif shard.format == "voices":
            yield from voices.tables(blocks(source, voices.BLOCK), shard.uri)
        elif shard.format == "transcripts":
            yield from voices.transcripts(blocks(source, voices.BLOCK), shard.uri)
        elif shard.format == "conll":
            yield from conll.tables(blocks(source, conll.BLOCK), shard.uri, shard.path)
        else:
            yield text.table(blocks(source, text.BLOCK), shard.path)
        self._settle(hashing.hexdigest())

    def _seeking(self, file: BinaryIO) -> Iterator["pa.Table"]:
        """Yield the pieces of a file that is not read from the first byte to the last."""
        from modelmill.data.reading import arrow, parquet
        from modelmill.data.reading.blocks import Source, chunks

        shard = self._shard
        before = self._status()
        self._settle(digest_cache.of_file(Path(shard.uri)) if before else digest.of_stream(file))
        file.seek(0)
        source = Source(file, shard.compression, shard.uri, shard.bytes)
        if shard.compression:
            source = source._replace(file=io.BytesIO(b"".join(chunks(source, has_lines=False))))
        yield from parquet.tables(source, CHUNK_ROWS) if shard.format == "parquet" else arrow.tables(source)
        self._refuse_changed(before)

    def _samples(self, file: BinaryIO) -> Iterator["pa.Table"]:
        """Yield the pieces of a tar, whose digest is of what is read of it: most of its bytes may be images."""
        from modelmill.data.reading import tar
        from modelmill.data.reading.blocks import Source

        shard = self._shard
        before = self._status()
        if before and shard.tag not in ("", digest_cache.of_file(Path(shard.uri))):
            raise UserError(f"{shard.uri}: changed since it was found; run again")
        samples = tar.Samples(Source(file, None, shard.uri, shard.bytes))
        yield from samples
        self._refuse_changed(before)
        self._settle(samples.sha256)

    def _status(self) -> str:
        """Return what tells whether the file was written to; an object in S3 is of one version."""
        return "" if is_remote(self._shard.uri) else digest_cache.status(Path(self._shard.uri))

    def _refuse_changed(self, before: str) -> None:
        if self._status() != before:
            raise UserError(f"{self._shard.uri}: changed while it was read; run again")

    def _settle(self, sha256: str) -> None:
        if self._wanted - {sha256}:
            raise UserError(f"{self._shard.uri}: changed since it was validated; run again")
        self.sha256 = sha256


def is_remote(uri: str) -> bool:
    """Return whether a shard lies in S3."""
    return uri.startswith("s3://")
