"""Manifests: the small JSON documents that travel between steps while the bytes stay in the store."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from modelmill.core import digest
from modelmill.core.errors import CorruptError
from modelmill.store import Store, blobs

Kind = Literal["dataset", "validation", "fitted", "corpus", "model", "evaluation", "registration"]


class Entry(BaseModel):
    """One file of an artifact.

    Attributes:
        path: Relative POSIX path.
        sha256: Digest of the bytes.
        bytes: Size of the file.
        rows: Records, documents or examples in it, where they are counted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    rows: int | None = None


class Manifest(BaseModel):
    """What a step made. It holds no times, places or run names: the same result has the same digest anywhere.

    Attributes:
        kind: Kind of the artifact.
        schema_version: Version of this document.
        location: Where the entries' bytes are: in the store as blobs, or still at the data's source.
        entries: Files of the artifact.
        made_from: Digests of the inputs, by name.
        info: What the next steps need to know.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Kind
    schema_version: Literal[1] = 1
    location: Literal["store", "source"] = "store"
    entries: list[Entry] = []
    made_from: dict[str, str] = {}
    info: dict[str, Any] = {}

    @model_validator(mode="after")
    def _files_stay_in_their_folder(self) -> "Manifest":
        """Refuse paths that lead out of a folder; files at the source are only read, and may have any."""
        for entry in self.entries if self.location == "store" else []:
            if any(part in {"", ".", ".."} for part in entry.path.split("/")) or "\0" in entry.path:
                raise ValueError(f"{entry.path!r} is not a path below the artifact's folder")
        return self

    def to_json(self) -> bytes:
        """Return the manifest as canonical JSON."""
        return digest.canonical_json(self.model_dump())

    @property
    def digest(self) -> str:
        """Digest of the canonical JSON, under which the store keeps the manifest."""
        return digest.of_bytes(self.to_json())

    def entry(self, path: str) -> Entry:
        """Return the entry with this path, which must be there."""
        return next(e for e in self.entries if e.path == path)

    def under(self, folder: str) -> list[Entry]:
        """Return the entries below a folder, in the manifest's order."""
        return [e for e in self.entries if e.path.startswith(folder + "/")]

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Read a manifest from JSON.

        Raises:
            CorruptError: It is no manifest, or of a schema version that this code does not know.
        """
        try:
            return cls.model_validate(json.loads(data))
        except (ValueError, ValidationError) as error:
            raise CorruptError(f"not a Modelmill manifest: {error}") from error


def add_file(store: Store, path: Path, name: str, rows: int | None = None, sha256: str | None = None) -> Entry:
    """Put a file into the store and return its entry.

    Args:
        store: Store that gets the file.
        path: The file.
        name: Path of the entry.
        rows: Rows of the file, if they are counted.
        sha256: Digest of the file, if it is known.
    """
    return Entry(path=name, sha256=blobs.put_file(store, path, sha256), bytes=path.stat().st_size, rows=rows)


def add_bytes(store: Store, data: bytes, name: str, rows: int | None = None) -> Entry:
    """Put bytes into the store and return their entry.

    Args:
        store: Store that gets the bytes.
        data: The bytes.
        name: Path of the entry.
        rows: Rows of the file, if they are counted.
    """
    return Entry(path=name, sha256=blobs.put_bytes(store, data), bytes=len(data), rows=rows)


def read_entry(store: Store, entry: Entry) -> bytes:
    """Return an entry's bytes, checked.

    Raises:
        CorruptError: They are missing from the store, or other bytes are there.
    """
    return blobs.get_bytes(store, entry.sha256)


def fetch(store: Store, entries: list[Entry], folder: Path) -> dict[str, Path]:
    """Return checked local files for entries, by the entries' paths: files of a folder store, else copies in a folder.

    Args:
        store: Store that holds the entries.
        entries: Entries whose files are wanted.
        folder: Place of the copies.
    """
    return {e.path: blobs.get_file(store, e.sha256, folder / e.path) for e in entries}


def place(store: Store, entries: list[Entry], folder: Path) -> None:
    """Write checked files for entries into a folder, at the entries' paths."""
    for name, file in fetch(store, entries, folder).items():
        target = folder / name
        if file != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(file, target)


def save(store: Store, manifest: Manifest) -> str:
    """Store a manifest, whose files must be stored already, and return its digest."""
    return blobs.put_bytes(store, manifest.to_json())


def load(store: Store, sha256: str) -> Manifest:
    """Return the manifest with this digest.

    Raises:
        CorruptError: It is missing, or something else is there.
    """
    return Manifest.parse(blobs.get_bytes(store, sha256))


def is_whole(store: Store, manifest: Manifest) -> bool:
    """Return whether every file that a manifest names is still in the store, by size; readers check the digest."""
    if manifest.location == "source":
        return True
    return all(store.size(blobs.key_of(e.sha256)) == e.bytes for e in manifest.entries)


def _link_or_copy(file: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(file, target)
