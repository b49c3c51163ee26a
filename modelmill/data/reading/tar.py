"""WebDataset's tars: each sample is members of one name with several suffixes (https://github.com/webdataset).

Members are read where they lie in the tar; nothing is ever extracted.
"""

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
                tar.members.clear()  # it would keep them all
                if not one.isdir():
                    yield _checked(one, where)
            end = tar.offset
    except (tarfile.TarError, EOFError, UnicodeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: cut off or no tar ({error}); write the file again") from None
    file.seek(end)
    if file.read(_BLOCK) != bytes(_BLOCK):
        raise UserError(f"{where}: cut off or broken: the mark of its end is missing; write the file again")


def tables(source: Source) -> Iterator[pa.Table]:
    """Yield the samples of a tar in pieces, at least one.

    Columns: `key`, `file` (the member that is an image or a recording), `txt` and `cls` as text, and the keys of the
    member `json`; `json_KEY` where a measure of the file has the name.

    Args:
        source: File that can seek.

    Raises:
        UserError: See `members`; or a sample has two images, or is in two places, or a text is not UTF-8 or not JSON.
    """
    return json_rows.tables(_rows(source), source.where, {})


def _rows(source: Source) -> Iterator[Rows]:
    objects: list[dict[str, Any]] = []
    seen: set[str] = set()
    count = length = 0
    for member in members(source.file, source.where):
        match = _KEY.fullmatch(member.name)
        if match is None:
            continue  # it has no suffix, or its name begins with a dot
        key, suffix = match[1], match[2].lower()
        if not objects or objects[-1]["key"] != key:
            if key in seen:
                raise UserError(f"{source.where}: sample {key!r} is in two places; write its members side by side")
            if length >= json_rows.BLOCK:
                yield Rows(objects, list(range(count + 1, count + len(objects) + 1)))
                objects, count, length = [], count + len(objects), 0
            seen.add(key)
            objects.append({"key": key})
        length += _add(objects[-1], member, suffix, source)
    yield Rows(objects, list(range(count + 1, count + len(objects) + 1)))


def _add(row: dict[str, Any], member: Member, suffix: str, source: Source) -> int:
    """Add what a member says to its sample's row, and return the bytes that it takes."""
    where = f"{source.where}: {member.name}"
    added: dict[str, Any] = {}
    if suffix in MEDIA:
        added = {"file": member.name}
    elif suffix in _TEXTS:
        text = _text(member, source.file, where)
        added = _object(text, where) if suffix == "json" else {suffix: text.strip()}
    if taken := [name for name in added if name in row]:
        raise UserError(f"{where}: the sample has two members that give it {taken[0]!r}; leave one out")
    row |= added
    return len(row["key"]) + (member.bytes if suffix in _TEXTS else 0)


def _text(member: Member, file: BinaryIO, where: str) -> str:
    if member.bytes > _MAX_TEXT:
        raise UserError(f"{where}: {member.bytes:,} bytes of text, more than {_MAX_TEXT >> 20} MiB")
    file.seek(member.start)
    try:
        return file.read(member.bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 (byte 0x{error.object[error.start]:02x}); convert the member") from None


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
