"""The interface of object stores. Keys are relative POSIX paths such as `runs/17/outcome.json`."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from modelmill.core.errors import ModelmillError, UserError


class KeyNotFound(ModelmillError):
    """No object has this key."""


class StoreError(UserError):
    """The store cannot be reached, refuses the credentials or cannot be written."""


class StoreAway(StoreError):
    """The store does not answer, or fails by its own account: the same may succeed in a while."""


class Versioned(NamedTuple):
    """An object's bytes and the tag (ETag) that `compare_and_swap` takes back."""

    data: bytes
    tag: str


class Stat(NamedTuple):
    """Size and age of an object.

    Attributes:
        bytes: Size of the object.
        modified: When it was written or touched, in seconds since 1970 by the store's clock.
    """

    bytes: int
    modified: float


class Store(Protocol):
    """An object store with atomic whole-object writes and two conditional writes.

    A reader sees the old object, the new object or none, never a part of one. Methods raise `KeyNotFound` for a missing
    key and `StoreError` where the store itself does not answer or refuses.
    """

    uri: str

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        ...

    def read(self, key: str) -> Versioned:
        """Return the object's bytes with the tag of their version."""
        ...

    def open(self, key: str) -> BinaryIO:
        """Open a stream over the object, to be read in order and closed after use."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write the object, whatever was there."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write the object unless the key exists; of several writers at once exactly one gets True."""
        ...

    def compare_and_swap(self, key: str, data: bytes, tag: str) -> bool:
        """Replace the version that has the tag; return False if the key holds another version or none."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Write a file of any size, in parallel parts where the store has them."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Read an object of any size into a file, which appears whole or not at all."""
        ...

    def size(self, key: str) -> int | None:
        """Return the object's size in bytes, None if there is no object."""
        ...

    def stat(self, key: str) -> Stat | None:
        """Return the object's size and age, None if there is no object."""
        ...

    def touch(self, key: str) -> bool:
        """Make the object as young as if it had just been written; return False if there is no object."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with the prefix, in sorted order."""
        ...

    def stats(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield what `list` yields, each key with its object's size and age, for no more requests."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; a missing key is no error."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Return the object as a file that can be memory-mapped, None where objects are not files."""
        ...

    def check(self) -> None:
        """Write, swap, read and delete a probe object, so that a bad store is known before any work.

        Raises:
            StoreError: As `check_conditional_writes`.
        """
        ...
