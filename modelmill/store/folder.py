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
from modelmill.store.base import KeyNotFound, Stat, StoreError, Versioned
from modelmill.store.conditional import check_conditional_writes

_OBJECTS, _TEMPORARY, _LOCKS = "objects", "tmp", "locks"
_LEFTOVER_SECONDS = 24 * 3600


class FolderStore:
    """Objects are files below `objects/`. A write goes to a temporary file that is then renamed or linked into place,
    so an object is whole or absent; conditional writes hold a lock file, which every writer of that key takes.
    """

    def __init__(self, uri: str) -> None:
        self.root = Path(uri.removeprefix("file://")).absolute()
        self.uri = f"file://{self.root}"

    def get(self, key: str) -> bytes:
        with self._reading(key) as path:
            return path.read_bytes()

    def read(self, key: str) -> Versioned:
        data = self.get(key)
        return Versioned(data, digest.of_bytes(data))

    def open(self, key: str) -> BinaryIO:
        with self._reading(key) as path:
            return open(path, "rb")

    def put(self, key: str, data: bytes) -> None:
        with self._written(data) as temporary, self._lock(key):
            temporary.replace(self._path(key))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._written(data) as temporary, self._lock(key):
            try:
                os.link(temporary, self._path(key))
            except FileExistsError:
                return False
        return True

    def compare_and_swap(self, key: str, data: bytes, tag: str) -> bool:
        with self._written(data) as temporary, self._lock(key):
            try:
                if self.read(key).tag != tag:
                    return False
            except KeyNotFound:
                return False
            temporary.replace(self._path(key))
        return True

    def upload(self, key: str, path: Path) -> None:
        with self._written(path) as temporary, self._lock(key):
            temporary.replace(self._path(key))

    def download(self, key: str, path: Path) -> None:
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
        found = self.stat(key)
        return found.bytes if found else None

    def stat(self, key: str) -> Stat | None:
        with contextlib.suppress(KeyNotFound), self._reading(key) as path:
            found = path.stat()
            return Stat(found.st_size, found.st_mtime) if S_ISREG(found.st_mode) else None
        return None

    def touch(self, key: str) -> bool:
        if self.stat(key) is None:
            return False
        with contextlib.suppress(KeyNotFound), self._reading(key) as path:
            os.utime(path)
            return True
        return False

    def list(self, prefix: str) -> Iterator[str]:
        base = self.root / _OBJECTS
        # The deepest folder that the prefix names whole; below it names are compared as keys, not as paths.
        start = base / prefix.rpartition("/")[0]
        files = (Path(folder) / name for folder, _, names in os.walk(start) for name in names)
        keys = (file.relative_to(base).as_posix() for file in files)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def stats(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        for key in self.list(prefix):
            if (found := self.stat(key)) is not None:  # else it was deleted meanwhile
                yield key, found

    def delete(self, key: str) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._path(key).unlink()

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def check(self) -> None:
        check_conditional_writes(self)
        old = time.time() - _LEFTOVER_SECONDS
        for leftover in (self.root / _TEMPORARY).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if leftover.stat().st_mtime < old:
                    leftover.unlink()

    def _path(self, key: str) -> Path:
        """
        Raises:
            ValueError: the key is no relative POSIX path; keys are ours, so this is a bug and not a user's mistake.
            StoreError: a symbolic link in the store leads out of it.
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
        """The file of an object; what its reader raises becomes the store's own errors."""
        try:
            yield self._path(key)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyNotFound(f"{self.uri}: no object {key}") from None
        except OSError as error:
            raise StoreError(f"--store {self.uri}: cannot be read ({error.strerror})") from error

    @contextlib.contextmanager
    def _written(self, content: bytes | Path) -> Iterator[Path]:
        """A temporary file with the content, on disk; gone afterwards if it was not moved into place."""
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
            temporary.chmod(0o644)
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
        """Hold the key against other writers, in this process or another; a killed holder's lock is free at once."""
        file = self.root / _LOCKS / digest.of_bytes(key.encode())[:2]
        file.parent.mkdir(parents=True, exist_ok=True)
        self._path(key).parent.mkdir(parents=True, exist_ok=True)
        with open(file, "ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
