"""Texts of recordings: the tables of Common Voice, and the transcripts of LibriSpeech."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.reading.blocks import TextBlock

BLOCK = 8 << 20
# Folder of Common Voice's recordings, beside its tables, and their suffix where a table leaves it out.
CLIPS, _SUFFIX = "clips", ".mp3"
_NAMES = {"path": "file", "sentence": "transcript"}
_INTEGERS = ("up_votes", "down_votes")


def tables(blocks: Iterable[TextBlock], where: str) -> Iterator[pa.Table]:
    """Yield the rows of a table of Common Voice; `path` becomes `file`, below `clips`, and `sentence` `transcript`.

    Its fields are separated by tabs and never quoted. An empty field is null, votes are integers, all else is text.

    Args:
        blocks: Blocks of the file.
        where: Name of the file in errors.

    Raises:
        UserError: A column is missing, or a row has another number of fields or votes that are no integers; the message
            names the line.
    """
    header: list[str] = []
    for block in blocks:
        lines = [(number, line.rstrip("\r")) for number, line in enumerate(block.text.split("\n"), block.first) if line]
        if not header:
            header = _header(lines[0][1] if lines else "", where)
            lines = lines[1:]
        rows = [_fields(line, header, f"{where}:{number}") for number, line in lines]
        columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
        typed = {_NAMES.get(name, name): _column(name, values, lines, where) for name, values in columns.items()}
        yield pa.table(typed)


def transcripts(blocks: Iterable[TextBlock], where: str) -> Iterator[pa.Table]:
    """Yield the rows of a chapter of LibriSpeech: `file`, `transcript`, and from the id `speaker` and `chapter`.

    Args:
        blocks: Blocks of the file.
        where: Name of the file in errors.

    Raises:
        UserError: A line is no id with a transcript; the message names it.
    """
    for block in blocks:
        rows = []
        for number, line in enumerate(block.text.split("\n"), block.first):
            if not line.strip():
                continue
            utterance, _, text = line.strip().partition(" ")
            parts = utterance.split("-")
            if len(parts) != 3 or not text:
                raise UserError(f"{where}:{number}: {line[:60]!r} is not SPEAKER-CHAPTER-NUMBER and a transcript")
            rows.append([f"{utterance}.flac", text.strip(), *parts[:2]])
        names = ("file", "transcript", "speaker", "chapter")
        yield pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)})


def _header(line: str, where: str) -> list[str]:
    header = line.split("\t")
    for name in _NAMES:
        if name not in header:
            raise UserError(f"{where}:1: no column {name!r}, which a table of Common Voice has; its columns: {header}")
    if len(set(header)) < len(header):
        raise UserError(f"{where}:1: a column is there twice; its columns: {header}")
    return header


def _fields(line: str, header: list[str], where: str) -> list[str | None]:
    fields = line.split("\t")
    if len(fields) != len(header):
        raise UserError(f"{where}: {len(fields)} fields, the header has {len(header)}; correct the line")
    return [field or None for field in fields]


def _column(name: str, values: list[str | None], lines: list[tuple[int, str]], where: str) -> pa.Array:
    if name == "path":
        return pa.array(
            [value and f"{CLIPS}/{value}{'' if '.' in value else _SUFFIX}" for value in values], pa.string()
        )
    if name not in _INTEGERS:
        return pa.array(values, pa.string())
    for (number, _), value in zip(lines, values, strict=True):
        if value is not None and not value.isdecimal():
            raise UserError(f"{where}:{number}: column {name!r}: {value!r:.40} is no integer; correct it")
    return pa.array([None if value is None else int(value) for value in values], pa.int64())
