"""Checkpoints in the store: tensors first, then the small document that makes them count."""

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from modelmill.core import digest
from modelmill.store import KeyNotFound, Store
from modelmill.store.outages import outlasting
from modelmill.training.device.threads import threads_beside_training
from modelmill.training.device.world import World

log = logging.getLogger("modelmill")
KEPT = 2

# Makes the tensor that a weight is read into, from the weight's name, whole shape and type. Raises CheckpointMismatch
# where the model has no such weight.
Make = Callable[[str, torch.Size, torch.dtype], torch.Tensor]


class Snapshot(NamedTuple):
    """Everything that the loop needs to resume.

    Attributes:
        tensors: Tensors by name.
        state: What is not a tensor, as JSON: the step, the history and so on.
    """

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


class CheckpointMismatch(Exception):
    """An error: a training cannot resume from a checkpoint; the message says what differs."""


class Checkpoints:
    """The checkpoints of one piece of work, under its step key: `checkpoints/<key>/`.

    Each process writes its part of the tensors with `torch.distributed.checkpoint`, as safetensors under their sha256;
    then `latest.json` is swapped to name all parts, so what it names is whole. The checkpoint before is kept, older
    ones are deleted. Any number of processes can read what any number has written.
    """

    def __init__(
        self, store: Store, key: str, scratch: Path, work: Mapping[str, str] | None = None, world: World | None = None
    ) -> None:
        """Open the checkpoints.

        Args:
            store: The store.
            key: The step's key.
            scratch: A folder of this process.
            work: Digests of the training's inputs, by name.
            world: The processes that train together.
        """
        self.store = store
        self.prefix = f"checkpoints/{key}/"
        self.scratch = scratch
        self.work = dict(work or {})
        self.world = world or World()
        self._pool = threads_beside_training("checkpoint")
        self._saving: Future[None] | None = None
        self._copies: dict[str, torch.Tensor] = {}
        self._folder = scratch / "checkpoint"

    def save(self, snapshot: Snapshot) -> None:
        """Copy a snapshot and write it beside the training, after the one before is written."""
        self.wait()
        tensors, alone = snapshot.tensors, self.world.size == 1
        if alone and all(tensor.device.type == "cpu" for tensor in tensors.values()):
            # A file that was just written is in memory, so it is the copy, at no greater cost to the processor.
            self._put(tensors)
            staged = None
        else:
            staged = self._copied(tensors) if alone else _staged(tensors)
        self._saving = self._pool.submit(self._write, staged, copy.deepcopy(snapshot.state))

    def _put(self, tensors: dict[str, torch.Tensor]) -> None:
        self._folder.mkdir(exist_ok=True)
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(whole, self._folder / "model.safetensors")

    def _copied(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return copies in memory that a GPU writes to without the processor and that is kept, being slow to get."""
        for name, tensor in tensors.items():
            if name not in self._copies:
                self._copies[name] = torch.empty_like(tensor, device="cpu", pin_memory=True, requires_grad=False)
            self._copies[name].copy_(tensor, non_blocking=True)
        torch.cuda.synchronize()
        return {name: self._copies[name] for name in tensors}

    def wait(self) -> None:
        """Wait until what was saved counts, and raise what went wrong."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    @contextlib.contextmanager
    def finished(self) -> Iterator[None]:
        """Enter a block after which no checkpoint is being written any more."""
        try:
            yield
        finally:
            self.wait()

    def load(self, make: Make = lambda name, shape, dtype: torch.empty(shape, dtype=dtype)) -> Snapshot | None:
        """Return the newest checkpoint that is whole and of this work, or None; refused ones are named in the log.

        Args:
            make: Makes the tensor that a saved one is read into.
        """
        for document in self._read()[0]:
            folder = self.scratch / f"resume-{document['state']['step']}"
            tensors, why = self._prepared(document, folder, make)
            if not self.world.least(not why):
                log.warning(
                    "checkpoint of step %s refused: %s", document["state"]["step"], why or "not whole elsewhere"
                )
                continue
            _dcp().load(tensors, storage_reader=_reader(folder), no_dist=self.world.size == 1)
            return Snapshot(tensors, document["state"])
        return None

    def newest_step(self) -> int | None:
        """Return the step of the newest checkpoint, or None."""
        self.wait()
        documents = self._read()[0]
        return documents[0]["state"]["step"] if documents else None

    def _prepared(
        self, document: dict[str, Any], folder: Path, make: Make
    ) -> tuple[dict[str, torch.Tensor], str | None]:
        """Return the tensors to read into, once their files are here; or why not."""
        try:
            for name, theirs in document["work"].items():
                if (mine := self.work.get(name)) != theirs:
                    raise CheckpointMismatch(
                        f"it is of another {name} ({theirs[:12]}, this training's is {str(mine)[:12]})"
                    )
            self._fetch(document["files"], folder)
            saved = _reader(folder).read_metadata().state_dict_metadata
            return {name: make(name, item.size, item.properties.dtype) for name, item in saved.items()}, None
        except CheckpointMismatch as why:
            return {}, str(why)

    def _fetch(self, files: dict[str, str], folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for name, sha256 in files.items():
            if Path(name).name != name:
                raise CheckpointMismatch(f"{name!r} is no name of a file of ours")
            try:
                self.store.download(self.prefix + sha256, folder / name)
            except KeyNotFound:
                raise CheckpointMismatch(f"its {name} ({sha256[:12]}) is no longer in the store") from None
            if (actual := digest.of_file(folder / name)) != sha256:
                raise CheckpointMismatch(
                    f"the bytes of its {name} are not those that were written ({actual[:12]}, not {sha256[:12]})"
                )

    def _write(self, tensors: dict[str, torch.Tensor] | None, state: dict[str, Any]) -> None:
        """Commit a checkpoint; tensors that are not given are in the folder already."""
        alone = self.world.size == 1
        if tensors is not None and alone:
            self._put(tensors)
        elif tensors is not None:
            writer = _writer(self._folder)
            _dcp().save(tensors, storage_writer=writer, process_group=self.world.saving)
        files = {}
        for file in sorted(self._folder.iterdir()):
            files[file.name] = digest.of_file(file)
            self._upload(file, files[file.name])
            file.unlink()
        parts = [files]
        if not alone:
            gathered: list[Any] | None = [None] * self.world.size if self.world.rank == 0 else None
            dist.gather_object(files, gathered, group=self.world.saving)
            parts = gathered or []
        if self.world.rank == 0:
            merged = {name: sha256 for part in parts for name, sha256 in part.items()}
            document = {"files": merged, "work": self.work, "state": state}
            outlasting(lambda: self._commit(document), f"checkpoint of step {state['step']}")

    def _upload(self, file: Path, sha256: str) -> None:
        outlasting(lambda: self.store.upload(self.prefix + sha256, file), "checkpoint")

    def _commit(self, document: dict[str, Any]) -> None:
        """Make the document the newest; where another process that trains the same was quicker, try again."""
        key, swapped = self.prefix + "latest.json", False
        while not swapped:
            known, tag = self._read()
            if known and known[0] == document:
                return  # an answer was lost on the way
            documents = [document, *known][:KEPT]
            data = digest.canonical_json(documents)
            swapped = self.store.compare_and_swap(key, data, tag) if tag else self.store.put_if_absent(key, data)
        kept = {sha256 for one in documents for sha256 in one["files"].values()}
        for sha256 in {sha256 for one in known for sha256 in one["files"].values()} - kept:
            self.store.delete(self.prefix + sha256)

    def _read(self) -> tuple[list[dict[str, Any]], str | None]:
        try:
            data, tag = self.store.read(self.prefix + "latest.json")
        except KeyNotFound:
            return [], None
        try:
            return json.loads(data), tag
        except ValueError:
            log.warning("%slatest.json is no JSON: no checkpoint is used", self.prefix)
            return [], tag


def _staged(tensors: dict[str, torch.Tensor]) -> Any:
    """Return a copy in this machine's memory; of a tensor that is spread over processes, each copies its part."""
    from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

    # A new stager each time: PyTorch 2.11 empties it after its first use.
    staged: Any = DefaultStager(StagingOptions(False, False, False, False)).stage(tensors)
    return staged


def _dcp() -> Any:
    """Import PyTorch's checkpoints when the first is due: it takes half a second that a start need not wait for."""
    import torch.distributed.checkpoint

    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
    return torch.distributed.checkpoint


def _writer(folder: Path) -> Any:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    writer.sync_files = False  # the store does that
    return writer


def _reader(folder: Path) -> Any:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    return HuggingFaceStorageReader(str(folder))
