"""WebDataset's tars: each sample is members of one name with several suffixes (https://github.com/webdataset).

Members are read where they lie in the tar; nothing is ever extracted.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.reading import json_rows
from modelmill.data.reading.blocks import Source, empty
from modelmill.data.reading.json_rows import Rows, json_type, refuse_constant

# Suffixes of the member that a row names, and of those whose text is a column.
MEDIA = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "wav", "flac", "mp3")
_TEXTS = ("txt", "cls", "json")
# Larger texts are not read; in bytes.
_MAX_TEXT = 16 << 20
# What is measured of files, whose names keys of a sample's JSON may have as well: those are called `json_KEY`.
MEASURED = frozenset(
    {
        *("width", "height", "channels", "mode", "brightness"),
        *("sample_rate", "seconds", "peak", "rms", "clipped", "silent"),
        *("bytes", "sha256", "readable"),
    }
)
_BLOCK = 512
_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")


class Member(NamedTuple):
    """A file in a tar.

    Attributes:
        name: Its path in the tar.
        start: Where its bytes begin.
        bytes: How many they are.
    """

    name: str
    start: int
    bytes: int


def members(file: BinaryIO, where: str) -> Iterator[Member]:
    """Yield the files in a tar, in their order; folders are left out.

    Args:
        file: The tar, which is not compressed and can seek.
        where: Name of the tar in errors.

    Raises:
        UserError: It is empty, cut off or no tar, or a member is a link, a device or has a path that leads out of it.
    """
    if not file.seek(0, io.SEEK_END):
        raise empty(where)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="strict") as tar:
            while (one := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if not one.isdir():
                    yield _checked(one, where)
            end = tar.offset
    except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: cut off or no tar ({error}); write the file again") from None
    file.seek(end)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise UserError(f"{where}: cut off or broken: the mark of its end is missing; write the file again")


class Samples:
    """The samples of a tar as tables, at least one.

    Columns: `key`, `file` (the member that is an image or a recording), `txt` and `cls` as text, and the keys of the
    member `json`; `json_KEY` where a measure of the file has the name.

    Attributes:
        sha256: Digest of the members' names and sizes, and of all text that was read; known after the last table.
    """

    def __init__(self, source: Source) -> None:
        """Make the samples.

        Args:
            source: File that can seek.
        """
        self._source = source
        self._hash = hashlib.sha256()
        self.sha256 = ""

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the tables.

        Raises:
            UserError: See `members`; or a sample has two images or is in two places, or a text is not UTF-8 or no JSON.
        """
        yield from json_rows.tables(self._rows(), self._source.where, {})
        self.sha256 = self._hash.hexdigest()

    def _rows(self) -> Iterator[Rows]:
        where, seen = self._source.where, set[str]()
        objects: list[dict[str, Any]] = []
        length = 0
        for member in members(self._source.file, where):
            match = _KEY.fullmatch(member.name)
            if match is None:
                continue  # it has no suffix, or its name begins with a dot
            key, suffix = match[1], match[2].lower()
            if not objects or objects[-1]["key"] != key:
                if key in seen:
                    raise UserError(f"{where}: sample {key!r} is in two places; write its members side by side")
                if length >= json_rows.BLOCK:
                    yield _numbered(objects, len(seen))
                    objects, length = [], 0
                seen.add(key)
                objects.append({"key": key})
            self._hash.update(f"{member.bytes} {member.name}\0".encode())
            length += self._add(objects[-1], member, suffix)
        yield _numbered(objects, len(seen))

    def _add(self, row: dict[str, Any], member: Member, suffix: str) -> int:
        """Add what a member says to its sample's row, and return the bytes that it takes."""
        where = f"{self._source.where}: {member.name}"
        added: dict[str, Any] = {}
        if suffix in MEDIA:
            added = {"file": member.name}
        elif suffix in _TEXTS:
            text = self._text(member, where)
            added = _object(text, where) if suffix == "json" else {suffix: text.strip()}
        if taken := [name for name in added if name in row]:
            raise UserError(f"{where}: the sample has two members that give it {taken[0]!r}; leave one out")
        row |= added
        return len(row["key"]) + (member.bytes if suffix in _TEXTS else 0)

    def _text(self, member: Member, where: str) -> str:
        if member.bytes > _MAX_TEXT:
            raise UserError(f"{where}: {member.bytes:,} bytes of text, more than {_MAX_TEXT >> 20} MiB")
        self._source.file.seek(member.start)
        data = self._source.file.read(member.bytes)
        if len(data) < member.bytes:
            raise UserError(f"{where}: cut off in the middle; write the tar again")
        self._hash.update(data)
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            what = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
            raise UserError(f"{where}: {what}; convert the member") from None


def _numbered(objects: list[dict[str, Any]], last: int) -> Rows:
    """Return rows with their numbers in the tar."""
    return Rows(objects, list(range(last - len(objects) + 1, last + 1)))


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not valid JSON ({error}); correct the member") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: the JSON of a sample is one object, this is {json_type(value)}; correct the member")
    return {f"json_{key}" if key in MEASURED or key in ("key", "file") else key: value for key, value in value.items()}


def _checked(one: tarfile.TarInfo, where: str) -> Member:
    """Return a member, which must be a file whose path is below where the tar would be unpacked."""
    parts = PurePosixPath(one.name).parts
    if one.issym() or one.islnk():
        raise UserError(f"{where}: {one.name!r} is a link to {one.linkname!r}; write the tar with files alone")
    if not one.isreg() or one.sparse is not None:
        raise UserError(f"{where}: {one.name!r} is no plain file (type {one.type!r}); write the tar with files alone")
    if one.name.startswith("/") or "\\" in one.name or "\0" in one.name or ".." in parts or not parts:
        raise UserError(f"{where}: {one.name!r} is a path that leads out of the tar; write the tar with relative paths")
    return Member("/".join(parts), one.offset_data, one.size)
