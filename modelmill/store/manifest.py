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
    """One file of an artifact; `path` is relative, `rows` counts records, documents or examples."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    rows: int | None = None


class Manifest(BaseModel):
    """What a step made. Holds no times, places or run names: the same result has the same digest anywhere.

    `location` says where the entries' bytes are: in the store as blobs, or still at the data's source.
    `made_from` names the digests of the inputs; `info` is what the next steps need to know.
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
        """Files of the store are written below a folder by their paths; those at the source are only read."""
        for entry in self.entries if self.location == "store" else []:
            if any(part in {"", ".", ".."} for part in entry.path.split("/")) or "\0" in entry.path:
                raise ValueError(f"{entry.path!r} is not a path below the artifact's folder")
        return self

    def to_json(self) -> bytes:
        return digest.canonical_json(self.model_dump())

    @property
    def digest(self) -> str:
        return digest.of_bytes(self.to_json())

    def entry(self, path: str) -> Entry:
        return next(e for e in self.entries if e.path == path)

    def under(self, folder: str) -> list[Entry]:
        """Entries below a folder, in the manifest's order."""
        return [e for e in self.entries if e.path.startswith(folder + "/")]

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """
        Raises:
            CorruptError: not a manifest, or of a schema version this code does not know.
        """
        try:
            return cls.model_validate(json.loads(data))
        except (ValueError, ValidationError) as error:
            raise CorruptError(f"not a Modelmill manifest: {error}") from error


def add_file(store: Store, path: Path, name: str, rows: int | None = None) -> Entry:
    """Put a file into the store and describe it."""
    return Entry(path=name, sha256=blobs.put_file(store, path), bytes=path.stat().st_size, rows=rows)


def add_bytes(store: Store, data: bytes, name: str, rows: int | None = None) -> Entry:
    """Put bytes into the store and describe them."""
    return Entry(path=name, sha256=blobs.put_bytes(store, data), bytes=len(data), rows=rows)


def read_entry(store: Store, entry: Entry) -> bytes:
    return blobs.get_bytes(store, entry.sha256)


def fetch(store: Store, entries: list[Entry], folder: Path) -> dict[str, Path]:
    """Checked local files for entries, by their path: the store's own files where it is a folder, else copies."""
    return {e.path: blobs.get_file(store, e.sha256, folder / e.path) for e in entries}


def place(store: Store, entries: list[Entry], folder: Path) -> None:
    """Checked files for entries in a folder, by their path."""
    for name, file in fetch(store, entries, folder).items():
        target = folder / name
        if file != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(file, target)


def save(store: Store, manifest: Manifest) -> str:
    """Write a manifest after the bytes it names; returns its digest."""
    return blobs.put_bytes(store, manifest.to_json())


def load(store: Store, sha256: str) -> Manifest:
    return Manifest.parse(blobs.get_bytes(store, sha256))


def is_whole(store: Store, manifest: Manifest) -> bool:
    """Whether every byte the manifest names is still in the store (by size; readers check the digest)."""
    if manifest.location == "source":
        return True
    return all(store.size(blobs.key_of(e.sha256)) == e.bytes for e in manifest.entries)


def _link_or_copy(file: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(file, target)
