"""Joining of a manifest's rows with the measures of the files that they name."""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa

from modelmill.core import digest
from modelmill.core.errors import UserError, one_line
from modelmill.data import media_files as files
from modelmill.data.media import placing
from modelmill.data.media.finding import FILE
from modelmill.data.media.unusable import Unusable
from modelmill.data.media_files import Kind, Media
from modelmill.data.reading import objects
from modelmill.recipe.layout import Layout

# Of every file: its size, the sha256 of its bytes, which equal files share, and whether it could be decoded.
COLUMNS = {"bytes": pa.int64(), "sha256": pa.string(), "readable": pa.bool_()}
# Files that are read at once: decoders work side by side, and a bucket answers each request late.
_READERS = 8


class UnusableRow(NamedTuple):
    """A row whose file cannot be used.

    Attributes:
        row: Number of the row, from 1.
        file: Name of the file.
        why: Why it cannot be used.
    """

    row: int
    file: str
    why: str


class Joining:
    """The join of one manifest's pieces, in order, with the columns of its files.

    Attributes:
        unusable: Rows so far whose file cannot be used.
        rows: Number of rows so far.
    """

    def __init__(self, media: Media, where: str, layout: Layout = "table") -> None:
        """Begin with a manifest's first piece.

        Args:
            media: The manifest's files.
            where: Name of the manifest in errors.
            layout: How the data lies, which may say that rows have boxes.
        """
        self._media, self._where, self._layout = media, where, layout
        self._measure, self._columns = _decoder(media.kind)
        self._digests: dict[str, str | None] = {}
        self.unusable: list[UnusableRow] = []
        self.rows = 0

    def sha256(self, manifest: str) -> str:
        """Return the digest of everything that was read: the manifest, whose sha256 is given, and its files."""
        return digest.of_json([manifest, sorted(self._digests.items())])

    def add(self, piece: pa.Table) -> pa.Table:
        """Return a piece with the columns of its files, without unusable rows if the recipe leaves them out.

        Args:
            piece: Rows of the manifest.

        Raises:
            UserError: There is no column of names, a column has the name of a measure, a name leads out of the folder,
                or a file has changed since it was found.
        """
        names = self._names(piece)
        wanted = list(dict.fromkeys(names))
        with ThreadPoolExecutor(_READERS) as pool:
            known = dict(zip(wanted, pool.map(self._look, wanted), strict=True))
        self._digests |= {name: values.get("sha256") for name, (values, _) in known.items()}
        for column, type_ in self._columns.items():
            values = pa.array([known[name][0].get(column) for name in names], type_)
            piece = piece.append_column(column, values)
        whys = [known[name][1] for name in names]
        if self._layout in placing.LAYOUTS or objects.are_in(piece):
            piece, problems = placing.place(piece, self._layout)
            whys = [why or problem for why, problem in zip(whys, problems, strict=True)]
            at = piece.column_names.index("readable")
            piece = piece.set_column(at, "readable", pa.array([not why for why in whys], pa.bool_()))
        unusable = [
            UnusableRow(row, name, why)
            for row, (name, why) in enumerate(zip(names, whys, strict=True), self.rows + 1)
            if why
        ]
        self.unusable += unusable
        self.rows += len(names)
        return piece.filter(piece["readable"]) if unusable and self._media.corrupt == "leave_out" else piece

    def finish(self) -> None:
        """Refuse a manifest with unusable rows, if the recipe says so.

        Raises:
            UserError: A file cannot be used.
        """
        if self.unusable and self._media.corrupt == "refuse":
            first, named = self.unusable[0], len({one.file for one in self.unusable})
            said = f"{named} {'file' if named == 1 else 'files'} that it names cannot be used"
            raise UserError(
                f"{self._where}: {said}, the first {first.file} (row {first.row}): {first.why}; "
                "write it again or take it out, or leave such rows out: --set data.corrupt_files=leave_out"
            )

    def _names(self, piece: pa.Table) -> list[str]:
        if FILE not in piece.column_names:
            have = ", ".join(piece.column_names[:10]) or "none"
            raise UserError(f"{self._where}: no column {FILE!r} that names the {self._media.kind}; its columns: {have}")
        if taken := [name for name in piece.column_names if name in self._columns]:
            raise UserError(f"{self._where}: column {taken[0]!r} is what is measured of the files; rename it")
        return list(self._inside(piece[FILE].to_pylist()))

    def _inside(self, names: Iterable[Any]) -> Iterable[str]:
        for place, name in enumerate(names, self.rows + 1):
            try:
                yield files.inside(name)
            except ValueError as error:
                raise UserError(f"{self._where}: row {place}: column {FILE!r} {error}") from None

    def _look(self, name: str) -> tuple[dict[str, Any], str]:
        """Return the columns of a file, and why it cannot be used or an empty text."""
        values: dict[str, Any] = {"readable": False}
        try:
            data = self._media.content(name)
            values |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            return values | self._measure(data) | {"readable": True}, ""
        except Unusable as error:
            return values, one_line(error)


def _decoder(kind: Kind) -> tuple[Callable[[bytes], dict[str, Any]], dict[str, pa.DataType]]:
    """Return what measures a file and the columns that come of it; decoders are imported where they are used."""
    if kind == "images":
        from modelmill.data.media import images

        return images.measure, _typed(images.COLUMNS) | COLUMNS
    from modelmill.data.media import audio

    return audio.measure, _typed(audio.COLUMNS) | COLUMNS


def _typed(columns: dict[str, str]) -> dict[str, pa.DataType]:
    return {name: pa.type_for_alias(kind) for name, kind in columns.items()}
