"""What every object store offers. Keys are relative POSIX paths such as `runs/17/outcome.json`."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from modelmill.core.errors import ModelmillError, UserError


class KeyNotFound(ModelmillError):
    """No object has this key."""


class StoreError(UserError):
    """The store cannot be reached, refuses the credentials or cannot be written."""


class Versioned(NamedTuple):
    """An object's bytes and the tag (ETag) that `compare_and_swap` takes back."""

    data: bytes
    tag: str


class Stat(NamedTuple):
    """bytes: the object's size. modified: written or touched, in seconds since 1970 by the store's clock."""

    bytes: int
    modified: float


class Store(Protocol):
    """An object store with atomic whole-object writes and two conditional ones.

    A reader sees an object whole, old or new, or not at all. Methods raise `KeyNotFound` for a missing key and
    `StoreError` where the store itself does not answer or refuses.
    """

    uri: str

    def get(self, key: str) -> bytes: ...

    def read(self, key: str) -> Versioned:
        """The object with the tag of the version that was read."""
        ...

    def open(self, key: str) -> BinaryIO:
        """A stream over the object, for reading in order; close it after use."""
        ...

    def put(self, key: str, data: bytes) -> None: ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless the key exists; of any number of writers at once exactly one is told True."""
        ...

    def compare_and_swap(self, key: str, data: bytes, tag: str) -> bool:
        """Replace the version that `tag` names; False if the key holds another version or none."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Write a file of any size, in parallel parts where the store has them."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Read an object of any size into a file; the file appears whole or not at all."""
        ...

    def size(self, key: str) -> int | None:
        """Bytes of the object, None if there is none."""
        ...

    def stat(self, key: str) -> Stat | None:
        """Size and age of the object, None if there is none."""
        ...

    def touch(self, key: str) -> bool:
        """Make the object as young as if it had just been written; False if there is none."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that start with the prefix, in sorted order, page by page."""
        ...

    def stats(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """As `list`, with each object's size and age, and for no more requests."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; a missing key is no error."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The object as a file that can be memory-mapped, None where objects are not files."""
        ...

    def check(self) -> None:
        """Write, swap, read and delete a probe object, so that a bad store is found before any work.

        Raises:
            StoreError: as `check_conditional_writes`.
        """
        ...
