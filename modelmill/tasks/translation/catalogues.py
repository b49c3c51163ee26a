"""Compiled message catalogues (`.mo`), as packages ship them for their translations."""

import struct
from collections.abc import Iterator

_LITTLE_ENDIAN, _CONTEXT = 0x950412DE, "\x04"


def messages(data: bytes) -> Iterator[tuple[str, list[str]]]:
    """Yield each message of a catalogue, without its context and plural, with its translations; a plural has several.

    The format is described in https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html.

    Args:
        data: The bytes of a `.mo` file.
    """
    magic, _, count, sources, targets = struct.unpack_from("<5I", data)
    assert magic == _LITTLE_ENDIAN
    for number in range(count):
        source, target = (_string(data, table + 8 * number) for table in (sources, targets))
        if source:  # the empty one is the catalogue's header
            yield source.split("\0")[0].rpartition(_CONTEXT)[2], target.split("\0")


def _string(data: bytes, place: int) -> str:
    length, start = struct.unpack_from("<2I", data, place)
    return data[start : start + length].decode("utf-8")
