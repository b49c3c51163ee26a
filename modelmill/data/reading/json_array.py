"""A JSON array of objects as tables, read piece by piece; objects one after another are read as well."""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.reading import blocks, json_rows
from modelmill.data.reading.blocks import Source, chunks
from modelmill.data.reading.json_rows import Rows, refuse_constant

_SPACE = re.compile(r"[ \t\r\n]*")
# Characters that are read at once.
_STEP = 1 << 20


def tables(source: Source, chosen: Mapping[str, pa.DataType]) -> Iterator[pa.Table]:
    """Yield one table for some rows, at least one; a later table may have more columns or wider types.

    Args:
        source: File to read.
        chosen: Types of columns that a person has chosen.

    Raises:
        UserError: The file is empty, cut off, not UTF-8, not JSON, or holds something else than objects, or values of a
            column have conflicting types; the message names file and line.
    """
    return json_rows.tables(_rows(_Text(source), json_rows.BLOCK), source.where, chosen)


def _rows(text: "_Text", size: int) -> Iterator[Rows]:
    is_array = text.next() == "["
    if is_array:
        text.skip()
    objects: list[dict[str, Any]] = []
    lines: list[int] = []
    count = length = 0
    while (mark := text.next()) == "{":
        lines.append(text.line)
        value, characters = text.value()
        objects.append(value)
        count, length = count + 1, length + characters
        if length >= size:
            yield Rows(objects, lines)
            objects, lines, length = [], [], 0
        if is_array and (mark := text.next()) == ",":
            text.skip()
            if text.next() != "{":
                raise text.error("an object belongs after the comma")
        elif is_array:
            break
    _check_end(text, mark, is_array, count)
    yield Rows(objects, lines)


def _check_end(text: "_Text", mark: str, is_array: bool, count: int) -> None:
    """Check that the file ends where its rows do."""
    if is_array and not mark:
        raise text.error("cut off in the middle of the array")
    if is_array and mark != "]":
        what = "a comma or the end of the array" if count else "an object"
        raise text.error(f"not valid JSON: {what} belongs here; a file of data holds an array of objects")
    if is_array:
        text.skip()
    if text.next():
        raise text.error("not valid JSON: there is something after the rows" if count else "not an array of objects")
    if not is_array and count == 1:
        raise text.error("one object, and not an array of objects: write the rows as an array, or name the file .jsonl")


class _Text:
    """A file's text, of which only the part that is being read is in memory.

    Attributes:
        line: The line of the next character, from 1.
    """

    def __init__(self, source: Source) -> None:
        self.line = 1
        self._where, self._chunks = source.where, chunks(source, has_lines=True)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder(parse_constant=refuse_constant)
        self._held, self._at, self._is_whole = "", 0, False
        if not self._more():
            raise blocks.empty(self._where)

    def next(self) -> str:
        """Return the next character that is no space; an empty text at the end."""
        while True:
            match = _SPACE.match(self._held, self._at)
            self._go_to(match.end() if match else self._at)
            if self._at < len(self._held) or not self._more():
                return self._held[self._at : self._at + 1]

    def skip(self) -> None:
        """Go on by one character, which is no space."""
        self._at += 1

    def value(self) -> tuple[dict[str, Any], int]:
        """Return the object that begins here, and its length in characters."""
        while True:
            try:
                value, end = self._json.raw_decode(self._held, self._at)
            except (ValueError, RecursionError) as error:
                is_long = len(self._held) - self._at > blocks.LONGEST_LINE
                if is_long or not isinstance(error, json.JSONDecodeError) or not self._more():
                    raise self._explained(error) from None
            else:
                length = end - self._at
                self._go_to(end)
                return value, length

    def error(self, what: str) -> UserError:
        """Return an error that names the line."""
        return UserError(f"{self._where}:{self.line}: {what}; correct the file")

    def _explained(self, error: Exception) -> UserError:
        if not isinstance(error, json.JSONDecodeError):
            return self.error(f"not valid JSON ({error})")
        self._go_to(max(error.pos, self._at))
        if self._is_whole and not self._held.rstrip().endswith(("]", "}")):
            return self.error("cut off in the middle of an object")
        return self.error(f"not valid JSON ({error.msg})")

    def _go_to(self, place: int) -> None:
        self.line += self._held.count("\n", self._at, place)
        self._at = place

    def _more(self) -> bool:
        """Read on: as much as there is unread already, so that a long object is not tried too often."""
        self._held, self._at = self._held[self._at :], 0
        wanted, parts = max(len(self._held), _STEP), []
        while wanted > 0 and not self._is_whole:
            data = next(self._chunks, b"")
            self._is_whole = not data
            wanted -= len(data)
            parts.append(data)
        data = b"".join(parts)
        try:
            self._held += self._decoder.decode(data, final=self._is_whole)
        except UnicodeDecodeError as error:
            line = self.line + self._held.count("\n") + error.object.count(b"\n", 0, error.start)
            what = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
            raise UserError(f"{self._where}:{line}: {what}; convert the file") from None
        return bool(data)
