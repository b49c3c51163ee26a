"""Checkpoints in the store: tensors first, then the small document that makes them count."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from components.common import digest
from components.common.store import KeyNotFound, Store

KEPT = 2


class Snapshot(NamedTuple):
    """Everything the loop needs to go on: tensors by name, and what JSON can say (the step, the history...)."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one piece of work, kept under its step key: `checkpoints/<key>/`.

    Tensors are written under a new name, then `latest.json` is swapped to name them, so what it names is whole.
    The one before is kept; older ones are deleted.
    """

    def __init__(self, store: Store, key: str, scratch: Path) -> None:
        self.store = store
        self.prefix = f"checkpoints/{key}/"
        self.scratch = scratch

    def save(self, snapshot: Snapshot) -> None:
        file = self.scratch / "checkpoint.safetensors"
        save_file({k: t.contiguous() for k, t in snapshot.tensors.items()}, file)
        sha256 = digest.of_file(file)
        self.store.upload(self.prefix + sha256, file)
        file.unlink()
        known, tag = self._read()
        documents = [{"sha256": sha256, "state": snapshot.state}, *known][:KEPT]
        data = digest.canonical_json(documents)
        if tag is None:
            self.store.put_if_absent(self.prefix + "latest.json", data)
        else:
            self.store.compare_and_swap(self.prefix + "latest.json", data, tag)
        kept = {document["sha256"] for document in documents}
        for document in known:
            if document["sha256"] not in kept:
                self.store.delete(self.prefix + document["sha256"])

    def load(self) -> Snapshot | None:
        """The newest checkpoint whose bytes are those that were written, None if there is none."""
        file = self.scratch / "resume.safetensors"
        for document in self._read()[0]:
            try:
                self.store.download(self.prefix + document["sha256"], file)
            except KeyNotFound:
                continue
            if digest.of_file(file) == document["sha256"]:
                return Snapshot(load_file(file), document["state"])
        return None

    def _read(self) -> tuple[list[dict[str, Any]], str | None]:
        try:
            data, tag = self.store.read(self.prefix + "latest.json")
        except KeyNotFound:
            return [], None
        return json.loads(data), tag
