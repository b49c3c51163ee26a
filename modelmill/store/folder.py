"""A folder as an object store, for one machine or a shared disk."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from modelmill.core import digest
from modelmill.core.files import private_mode
from modelmill.store.base import KeyNotFound, Stat, StoreError, Versioned
from modelmill.store.conditional import check_conditional_writes

_OBJECTS, _TEMPORARY, _LOCKS = "objects", "tmp", "locks"
_BLOBS = "blobs/"
_LEFTOVER_SECONDS = 24 * 3600


class FolderStore:
    """An object store whose objects are files below `objects/`.

    A write goes to a temporary file that is then renamed or linked into place, so an object is whole or absent.
    Conditional writes hold a lock file, which every writer of that key takes.
    """

    def __init__(self, uri: str) -> None:
        """Name the folder, which the first write makes.

        Args:
            uri: `file://FOLDER`.
        """
        self.root = Path(uri.removeprefix("file://")).absolute()
        self.uri = f"file://{self.root}"

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        with self._reading(key) as path:
            return path.read_bytes()

    def read(self, key: str) -> Versioned:
        """Return the object's bytes, and their sha256 as the tag."""
        data = self.get(key)
        return Versioned(data, digest.of_bytes(data))

    def open(self, key: str) -> BinaryIO:
        """Open the object's file."""
        with self._reading(key) as path:
            return open(path, "rb")

    def put(self, key: str, data: bytes) -> None:
        """Write the object, whatever was there."""
        with self._written(key, data) as temporary, self._lock(key):
            temporary.replace(self._path(key))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write the object unless the key exists; return whether it was written."""
        with self._written(key, data) as temporary, self._lock(key):
            try:
                os.link(temporary, self._path(key))
            except FileExistsError:
                return False
        return True

    def compare_and_swap(self, key: str, data: bytes, tag: str) -> bool:
        """Replace the version that has the tag; return False if the key holds another version or none."""
        with self._written(key, data) as temporary, self._lock(key):
            try:
                if self.read(key).tag != tag:
                    return False
            except KeyNotFound:
                return False
            temporary.replace(self._path(key))
        return True

    def upload(self, key: str, path: Path) -> None:
        """Copy a file into the store."""
        with self._written(key, path) as temporary, self._lock(key):
            temporary.replace(self._path(key))

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a file, which appears whole or not at all."""
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        try:
            with self.open(key) as source, open(partial, "wb") as target:
                shutil.copyfileobj(source, target, digest.CHUNK)
            partial.replace(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error.strerror})") from error
        finally:
            partial.unlink(missing_ok=True)

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes, None if there is no object."""
        stat = self.stat(key)
        return stat.bytes if stat else None

    def stat(self, key: str) -> Stat | None:
        """Return the object's size and age, None if there is no object."""
        with contextlib.suppress(KeyNotFound), self._reading(key) as path:
            status = path.stat()
            return Stat(status.st_size, status.st_mtime) if S_ISREG(status.st_mode) else None
        return None

    def touch(self, key: str) -> bool:
        """Set the object's time to now; return False if there is no object."""
        if self.stat(key) is None:
            return False
        with contextlib.suppress(KeyNotFound), self._reading(key) as path:
            os.utime(path)
            return True
        return False

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with the prefix, in sorted order."""
        base = self.root / _OBJECTS
        # The deepest folder that the prefix names whole; below it names are compared as keys, not as paths.
        start = base / prefix.rpartition("/")[0]
        files = (Path(folder) / name for folder, _, names in os.walk(start) for name in names)
        keys = (file.relative_to(base).as_posix() for file in files)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def stats(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield the keys that start with the prefix, each with its object's size and age."""
        for key in self.list(prefix):
            if (stat := self.stat(key)) is not None:  # else it was deleted meanwhile
                yield key, stat

    def delete(self, key: str) -> None:
        """Remove the object; a missing key is no error."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._path(key).unlink()

    def local_path(self, key: str) -> Path | None:
        """Return the object's file."""
        return self._path(key)

    def check(self) -> None:
        """Check conditional writes, and remove temporary files of writers that were killed a day ago or earlier.

        Raises:
            StoreError: As `check_conditional_writes`.
        """
        check_conditional_writes(self)
        old = time.time() - _LEFTOVER_SECONDS
        for leftover in (self.root / _TEMPORARY).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if leftover.stat().st_mtime < old:
                    leftover.unlink()

    def _path(self, key: str) -> Path:
        """Return the file of a key.

        Raises:
            ValueError: The key is no relative POSIX path; keys are ours, so this is a bug and not a user's mistake.
            StoreError: A symbolic link in the store leads out of it.
        """
        parts = key.split("/")
        if any(part in {"", ".", ".."} for part in parts) or "\\" in key or "\0" in key:
            raise ValueError(f"not an object key: {key!r}")
        path = self.root.joinpath(_OBJECTS, *parts)
        if not path.resolve().is_relative_to((self.root / _OBJECTS).resolve()):
            raise StoreError(f"--store {self.uri}: {key} leads out of the store through a symbolic link; remove that")
        return path

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        """Give the file of an object; what its reader raises becomes the store's own errors."""
        try:
            yield self._path(key)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyNotFound(f"{self.uri}: no object {key}") from None
        except OSError as error:
            raise StoreError(f"--store {self.uri}: cannot be read ({error.strerror})") from error

    @contextlib.contextmanager
    def _written(self, key: str, content: bytes | Path) -> Iterator[Path]:
        """Give a temporary file with the content, synced; it is removed afterwards unless it was moved into place."""
        temporary = None
        try:
            folder = self.root / _TEMPORARY
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=folder)
            temporary = Path(name)
            with os.fdopen(handle, "wb") as target:
                if isinstance(content, Path) and content.is_file():
                    shutil.copyfile(content, temporary)  # the kernel copies, which costs the processor little
                elif isinstance(content, Path):
                    with open(content, "rb") as source:
                        shutil.copyfileobj(source, target, digest.CHUNK)
                else:
                    target.write(content)
                target.flush()
                os.fsync(target.fileno())
            temporary.chmod(private_mode() if not key.startswith(_BLOBS) else private_mode(0o644))
            yield temporary
        except OSError as error:
            raise StoreError(
                f"--store {self.uri}: cannot be written ({error.strerror}); choose another with --store"
            ) from error
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Lock the key against other writers, in this process or another; a killed holder's lock is free at once."""
        file = self.root / _LOCKS / digest.of_bytes(key.encode())[:2]
        file.parent.mkdir(parents=True, exist_ok=True)
        self._path(key).parent.mkdir(parents=True, exist_ok=True)
        with open(file, "ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
