"""What lies at a place, and what is common to finding shards of any layout."""

import fnmatch
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import NamedTuple

from modelmill.core.errors import UserError
from modelmill.data.data_files import DataFile, listed, with_tag
from modelmill.data.media_files import CorruptPolicy, Kind
from modelmill.data.shard import COMPRESSIONS, Compression, Format, Shard

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_READERS = 8


class Place(NamedTuple):
    """What lies at the place that a recipe names.

    Attributes:
        path: The place, for messages.
        root: URI of the folder that the files' paths start from, with `/` at its end; empty where nothing lies.
        files: Files there, sorted, without those that the recipe ignores.
        kind: What the files are that rows name.
        corrupt: What happens to rows whose file is missing or broken.
    """

    path: str
    root: str
    files: list[DataFile]
    kind: Kind | None = None
    corrupt: CorruptPolicy = "keep"

    def suffixed(self, *suffixes: str) -> list[DataFile]:
        """Return the files with one of some suffixes, which a suffix of compression may follow."""
        return [file for file in self.files if suffix_of(file.path) in suffixes]

    def widened(self) -> dict[str, DataFile]:
        """Return every file below the root by its URI, of which a file or a pattern may have named some alone."""
        is_root = self.root.rstrip("/").endswith(self.path.removeprefix("file://").rstrip("/"))
        return {file.uri: file for file in (self.files if is_root else listed(self.root.rstrip("/")))}


def look(path: str, ignore: list[str] | None, kind: Kind | None = None, corrupt: CorruptPolicy = "keep") -> Place:
    """Return what lies at a place.

    Args:
        path: A folder, a file, a glob pattern, or one of these below `s3://`.
        ignore: Patterns of names of files that are no data.
        kind: What the files are that rows name.
        corrupt: What happens to rows whose file is missing or broken.

    Raises:
        UserError: There is nothing of that name, or it cannot be read.
    """
    files = sorted(file for file in listed(path) if not _is_ignored(file, ignore or []))
    root = files[0].uri.removesuffix(files[0].path) if files else ""
    return Place(path, root, files, kind, corrupt)


def format_of(file: DataFile, format_: Format) -> tuple[Format, Compression | None]:
    """Return a file's format and how it is compressed."""
    return format_, COMPRESSIONS.get(PurePosixPath(file.path).suffix.lower())


def suffix_of(path: str) -> str:
    """Return the suffix of a name in lower case, without one of compression."""
    name = PurePosixPath(path)
    return (name.with_suffix("") if name.suffix.lower() in COMPRESSIONS else name).suffix.lower()


def tagged(files: Iterable[DataFile], make: Callable[[DataFile], Shard]) -> list[Shard]:
    """Return the shard of each file, which is given with its size and tag."""
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda file: make(with_tag(file)), files))


def nothing(place: Place, wanted: str) -> UserError:
    """Return the error of a place without what a layout needs."""
    return UserError(f"data.path: {place.path}: {wanted} (modelmill data profile tells the layout of a folder)")


def _is_ignored(file: DataFile, patterns: list[str]) -> bool:
    names = (file.path.lower(), PurePosixPath(file.path).name.lower())
    return any(fnmatch.fnmatchcase(name, pattern.lower()) for name in names for pattern in patterns)
