"""Rows of a folder that no file lists: images by class, or images with YOLO's files of boxes."""

import hashlib
from collections.abc import Iterator

import pyarrow as pa

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data import media_files
from modelmill.data.data_files import DataFile
from modelmill.data.listing import Listing
from modelmill.data.reading import boxes
from modelmill.data.reading.boxes import Objects

# Numbers of a line: the class, and the middle and the sides of a box; more than these are the corners of a polygon.
_BOX = 5


class Rows:
    """The rows of a listing in pieces, in the order of their names.

    Attributes:
        sha256: Digest of the rows, known after the last piece.
    """

    def __init__(self, listing: Listing, rows: int) -> None:
        """Make the rows.

        Args:
            listing: The folder.
            rows: Most rows of a piece.
        """
        self._listing, self._most = listing, rows
        self.sha256 = ""

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the pieces, whose boxes are fractions of the image's sides.

        Raises:
            UserError: A file of boxes is broken or has changed since it was found; the message names file and line.
        """
        names, hashed = sorted(self._listing.images), hashlib.sha256()
        for start in range(0, len(names), self._most):
            table = self._piece(names[start : start + self._most])
            hashed.update(digest.canonical_json(table.to_pylist()))
            yield table
        self.sha256 = hashed.hexdigest()

    def _piece(self, names: list[str]) -> pa.Table:
        listing = self._listing
        columns: dict[str, pa.Array] = {"file": pa.array(names, pa.string())}
        if listing.label is None:
            columns |= boxes.columns([self._objects(listing.boxes.get(name)) for name in names])
        else:
            columns["label"] = pa.array([listing.label] * len(names), pa.string())
        if listing.split:
            columns["split"] = pa.array([listing.split] * len(names), pa.string())
        return pa.table(columns)

    def _objects(self, file: DataFile | None) -> Objects:
        found = Objects([], [])
        if file is None:
            return found  # an image without objects
        for number, line in enumerate(media_files.text(file).split("\n"), 1):
            if line.strip():
                box, label = _parse(line, self._listing.classes, f"{file.uri}:{number}")
                found.boxes.append(box)
                found.labels.append(label)
        return found


def _parse(line: str, classes: tuple[str, ...], where: str) -> tuple[list[float], str]:
    """Return the box of a line, left, top, right and bottom as fractions, and its class."""
    fields = line.split()
    try:
        number, *sides = int(fields[0]), *map(float, fields[1:])
    except ValueError:
        raise UserError(f"{where}: {line.strip()[:80]!r} is not a class's number and numbers; correct it") from None
    if not 0 <= number < len(classes):
        raise UserError(f"{where}: class {number}, and `names` has {len(classes)}, from 0 on; correct one of them")
    if not all(map(boxes.is_number, sides)):
        raise UserError(f"{where}: a number is not finite; correct it")
    if len(fields) == _BOX:
        x, y, width, height = sides
        return [x - width / 2, y - height / 2, x + width / 2, y + height / 2], classes[number]
    if len(sides) < 6 or len(sides) % 2:
        raise UserError(f"{where}: {len(fields)} numbers; a line has a class, then x, y, width and height, or corners")
    across, down = sides[::2], sides[1::2]
    return [min(across), min(down), max(across), max(down)], classes[number]
