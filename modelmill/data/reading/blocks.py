"""Reading of a text file, decompressed and decoded, in blocks of whole lines."""

import codecs
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from modelmill.core.errors import UserError

# Small, so that the line at which a compressed file breaks is nearly exact.
_COMPRESSED_CHUNK = 1 << 13
_CHUNK = 1 << 20
# What expands beyond the first and beyond so many times its size is taken for a mistake or an attack.
MAX_EXPANDED, MAX_RATIO = 4 << 30, 100
# A line must fit in memory, where it is several times for a moment.
LONGEST_LINE = 128 << 20


class Source(NamedTuple):
    """A file to read.

    Attributes:
        file: The open file.
        compression: `gz`, `zst` or None.
        where: Name of the file in errors.
        bytes: Size before decompression.
    """

    file: BinaryIO
    compression: str | None
    where: str
    bytes: int


class TextBlock(NamedTuple):
    """Whole lines of a text.

    Attributes:
        first: Number of the first line, from 1.
        text: The lines.
    """

    first: int
    text: str


class Hashing(io.RawIOBase):
    """A stream that hashes what is read through it."""

    def __init__(self, file: BinaryIO) -> None:
        """Read from a file."""
        self._file, self._sha256 = file, hashlib.sha256()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes into the buffer, hash them, and return how many there are."""
        data = self._file.read(len(buffer))
        self._sha256.update(data)
        buffer[: len(data)] = data
        return len(data)

    def hexdigest(self) -> str:
        """Return the sha256 of the whole file; what nobody has read yet is read here."""
        while data := self._file.read(_CHUNK):
            self._sha256.update(data)
        return self._sha256.hexdigest()


def blocks(source: Source, size: int) -> Iterator[TextBlock]:
    """Yield the text in blocks of about `size` bytes, at least one.

    Args:
        source: File to read.
        size: Least bytes of a block, unless it is the last.

    Raises:
        UserError: The file is empty, cut off, too large when expanded, or not UTF-8; the message names the line.
    """
    first, is_empty = 1, True
    for data in _whole_lines(chunks(source, has_lines=True), size, source.where):
        plain = data.removeprefix(codecs.BOM_UTF8) if is_empty else data
        is_empty = False
        try:
            yield TextBlock(first, plain.decode("utf-8"))
        except UnicodeDecodeError as error:
            line = first + plain.count(b"\n", 0, error.start)
            what = f"not UTF-8 (byte 0x{plain[error.start]:02x})"
            raise UserError(f"{source.where}:{line}: {what}; convert the file") from None
        first += data.count(b"\n")
    if is_empty:
        raise empty(source.where)


def empty(where: str) -> UserError:
    """Return the error of an empty file."""
    return UserError(f"{where}: empty (0 bytes); remove the file or write it again")


def chunks(source: Source, has_lines: bool) -> Iterator[bytes]:
    """Yield the decompressed bytes.

    Args:
        source: File to read.
        has_lines: Whether errors name the line.

    Raises:
        UserError: The file is cut off, broken, or too large when expanded.
    """
    stream: Any = _decompressing(source)
    expanded = newlines = 0
    try:
        while chunk := stream.read(_COMPRESSED_CHUNK if source.compression else _CHUNK):
            expanded += len(chunk)
            newlines += chunk.count(b"\n") if source.compression else 0
            if source.compression:
                refuse_bomb(expanded, source)
            yield chunk
    except (EOFError, OSError, zlib.error) as error:
        line = f":{newlines + 1}" if has_lines else ""
        what = "cut off" if isinstance(error, EOFError) or "Truncated" in str(error) else f"broken ({error})"
        raise UserError(
            f"{source.where}{line}: the {source.compression} stream is {what}; write the file again"
        ) from None


def refuse_bomb(expanded: int, source: Source) -> None:
    """Refuse a file that expands to more bytes than it may.

    Args:
        expanded: Bytes that the file has expanded to so far.
        source: The file.

    Raises:
        UserError: It is more than the file may expand to.
    """
    if expanded > max(MAX_EXPANDED, MAX_RATIO * source.bytes):
        limit = (
            f"more than {max(MAX_EXPANDED, MAX_RATIO * source.bytes) / 2**30:g} GiB, and is {source.bytes:,} bytes now"
        )
        raise UserError(f"{source.where}: expands to {limit}; split the file, if it is what it seems")


def _decompressing(source: Source) -> Any:
    if source.compression == "gz":
        return gzip.GzipFile(fileobj=source.file)
    if source.compression == "zst":
        return pa.CompressedInputStream(pa.PythonFile(source.file, "r"), "zstd")
    return source.file


def _whole_lines(data: Iterator[bytes], size: int, where: str) -> Iterator[bytes]:
    held: list[bytes] = []
    length = lines = 0
    for chunk in data:
        held.append(chunk)
        length += len(chunk)
        end = chunk.rfind(b"\n") + 1
        if length >= size and end:
            yield b"".join([*held[:-1], chunk[:end]])
            lines += sum(part.count(b"\n") for part in held)
            held, length = [chunk[end:]], len(chunk) - end
        if length > LONGEST_LINE + size:
            most = f"{LONGEST_LINE / 2**20:g} MiB"
            line = lines + sum(part.count(b"\n") for part in held) + 1
            raise UserError(f"{where}:{line}: from here on {most} without the end of a line; split the file")
    if rest := b"".join(held):
        yield rest
