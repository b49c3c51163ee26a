"""The files that a manifest of images or audio names: their places and their bytes."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from modelmill.core.errors import UserError
from modelmill.data.data_files import DataFile, open_file
from modelmill.data.media.unusable import Unusable
from modelmill.recipe.layout import MediaKind

Kind = MediaKind
# What happens to rows whose file is missing or broken; who only looks at data keeps them.
CorruptPolicy = Literal["refuse", "leave_out", "keep"]
# Larger files are not read: each is held in memory; in bytes.
MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Media:
    """The files of one manifest.

    Attributes:
        kind: What the files are.
        corrupt: What happens to rows whose file is missing or broken.
        tag: Tag of the manifest alone.
        size: Bytes of the manifest alone.
        files: Files below the manifest's folder that it names, by their names in it, so that nothing else can be read
            through it. Their tags change with the content: an S3 object's is its ETag, a file's on disk its size and
            times of change, so that finding files opens none.
    """

    kind: Kind
    corrupt: CorruptPolicy
    tag: str
    size: int
    files: Mapping[str, DataFile] = field(compare=False, repr=False)

    def content(self, name: str) -> bytes:
        """Return the bytes of a file.

        Args:
            name: The file's name in the manifest.

        Raises:
            Unusable: The file is not there, empty or too large.
            UserError: It has changed since it was found, or the disk or the server cannot be read.
        """
        file = self.files.get(name)
        if file is None:
            raise Unusable("not there, or not a regular file (names that begin with . or _ are skipped)")
        return content(file)


def content(file: DataFile) -> bytes:
    """Return the bytes of a file that was found with its size and tag.

    Args:
        file: The file.

    Raises:
        Unusable: The file is empty or too large.
        UserError: It has changed since it was found, or the disk or the server cannot be read.
    """
    require_size(file.bytes)
    with open_file(file.uri, file.tag, file.bytes) as stream:
        data = stream.read(file.bytes + 1)
        is_changed = len(data) != file.bytes
        if not file.uri.startswith("s3://"):
            is_changed = is_changed or tag_of(os.fstat(stream.fileno())) != file.tag
    if is_changed:
        raise UserError(f"{file.uri}: changed since it was found; run again")
    return data


def require_size(size: int) -> None:
    """Check that a file has bytes, and not too many to be held in memory.

    Raises:
        Unusable: It has none, or too many.
    """
    if not size:
        raise Unusable("empty (0 bytes)")
    if size > MAX_BYTES:
        raise Unusable(f"{size:,} bytes, more than {MAX_BYTES >> 20} MiB")


def text(file: DataFile) -> str:
    """Return the text of a small file that lies beside images.

    Args:
        file: The file.

    Raises:
        UserError: It is too large, not UTF-8 or has changed since it was found, or cannot be read.
    """
    if not file.bytes:
        return ""
    try:
        return content(file).decode("utf-8-sig")
    except Unusable as error:
        raise UserError(f"{file.uri}: {error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file.uri}: not UTF-8; write the file again") from None


def inside(name: object) -> str:
    """Return a name in a manifest as a path below the manifest's folder.

    Raises:
        ValueError: It is no such path; the message says why.
    """
    if not isinstance(name, str) or not name:
        raise ValueError("is empty" if name in (None, "") else f"is {name!r}, not the name of a file")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or not parts:
        raise ValueError(f"{name!r} is not a path below the manifest's folder")
    return "/".join(parts)


def on_disk(file: DataFile) -> DataFile | None:
    """Return a file with its size and tag, None for what is no regular file: reading a pipe could wait forever."""
    try:
        status = Path(file.uri).stat()
    except OSError:
        return None
    return file._replace(bytes=status.st_size, tag=tag_of(status)) if stat.S_ISREG(status.st_mode) else None


def tag_of(status: os.stat_result) -> str:
    """Return a tag of a file on disk that changes whenever its content does.

    It includes the time of change (ctime), which no program can set, as it can the time of modification.
    """
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"
