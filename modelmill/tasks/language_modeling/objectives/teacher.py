"""What a teacher makes of a corpus: its likeliest tokens at each place that is learned, kept in the store.

It is kept by shard of the corpus, under a key of the shard's tokens, the teacher and the settings that matter: another
learning rate computes nothing again, and a new shard costs one shard. Of each shard there are three arrays, with a row
for each learned place in order, and the rows at which its windows begin.
"""

import gc
import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import distributed, nn

from modelmill.core import digest
from modelmill.models import distillation
from modelmill.models.cross_entropy import IGNORED
from modelmill.recipe.step_specs import CORPUS
from modelmill.runtime.step_runtime import Step
from modelmill.store import KeyNotFound, blobs, manifest
from modelmill.store.manifest import Entry
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling import ways
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

# Windows that the teacher reads at once, and places whose logits exist at once.
WINDOWS, PLACES = 8, 512
FOLDER = "teachers"
# Arrays of a shard; `windows` are numbers of rows.
ARRAYS = ("tokens", "logs", "rest", "windows")
LOOK_SECONDS = 1.0


class Shard(NamedTuple):
    """What a teacher makes of one shard, as arrays that may lie on disk.

    Attributes:
        tokens: Its likeliest tokens, (places, k).
        logs: Logarithms of their probabilities, fp32, (places, k).
        rest: Logarithm of the probability of all others, fp32, (places,).
        windows: Place at which each window begins, and the number of places, int64.
    """

    tokens: np.ndarray
    logs: np.ndarray
    rest: np.ndarray
    windows: np.ndarray


def of_corpus(
    step: Step, task: Any, splits: list[Any], made_with: dict[str, Any], load: Callable[[], tuple[Any, Any]]
) -> dict[str, Shard]:
    """Return what the teacher makes of some splits, by the stem of each shard's files; what is kept is not made again.

    Processes that train together each make their part of it.

    Args:
        step: The running step.
        task: The student's task.
        splits: The examples of some splits.
        made_with: What decides the result beside a shard's tokens: the teacher's digest, `top_k` and `temperature`.
        load: Returns the teacher and its task; called only if something is to be made.
    """
    shards = [(examples, n) for examples in splits for n, one in enumerate(examples.shards) if one.windows]
    keys = [_key(step, task, examples.shards[number].stem, made_with) for examples, number in shards]
    entries = {key: _find(step, key) for key in keys}
    rank, size = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    missing = [(key, *one) for key, one in zip(keys, shards, strict=True) if entries[key] is None]
    if mine := missing[rank::size]:
        teacher, its_task = load()
        for done, (key, examples, number) in enumerate(mine):
            step.progress(done, len(mine), "the teacher's probabilities")
            entries[key] = _make(step, its_task, teacher, examples, number, key, made_with)
        del teacher
        gc.collect()
    return {
        examples.shards[number].stem: _open(step, entries[key] or _wait_for(step, key), key)
        for key, (examples, number) in zip(keys, shards, strict=True)
    }


def _key(step: Step, task: Any, stem: str, made_with: dict[str, Any]) -> str:
    """Return the store key of what the teacher makes of one shard."""
    entries = (entry for entry in step.inputs[CORPUS].entries if entry.path.startswith(f"{stem}."))
    shard = {entry.path.removeprefix(f"{stem}."): entry.sha256 for entry in entries}
    document = {"shard": shard, "length": task.length, "code": step.document["code"], **made_with}
    return f"{FOLDER}/{digest.of_json(document)}.json"


def _find(step: Step, key: str) -> list[Entry] | None:
    """Return the files under a key; None if there are none or one is gone."""
    try:
        entries = [Entry.model_validate(entry) for entry in json.loads(step.store.get(key))["entries"]]
    except KeyNotFound:
        return None
    return entries if all(step.store.size(blobs.key_of(e.sha256)) == e.bytes for e in entries) else None


def _wait_for(step: Step, key: str) -> list[Entry]:
    """Return the files under a key once another process has made them; where it dies, this one is ended."""
    while (entries := _find(step, key)) is None:
        time.sleep(LOOK_SECONDS)
    return entries


def _open(step: Step, entries: list[Entry], key: str) -> Shard:
    files = manifest.fetch(step.store, entries, step.scratch / key.removesuffix(".json"))
    return Shard(*(np.load(files[f"{name}.npy"], mmap_mode="r", allow_pickle=False) for name in ARRAYS))


@torch.no_grad()
def _make(
    step: Step, task: Any, teacher: Any, examples: Any, number: int, key: str, made_with: dict[str, Any]
) -> list[Entry]:
    """Write what the teacher makes of a shard, some windows at a time, put it into the store and return its files."""
    windows = examples.first[number] + np.arange(examples.shards[number].windows)
    counts = [_learned(examples.batch(some)).sum(1).numpy() for some in _some(windows)]
    begins = np.cumsum([0, *itertools.chain.from_iterable(counts)])
    folder = step.scratch / FOLDER / "made"
    folder.mkdir(parents=True, exist_ok=True)
    k = min(made_with["top_k"], task.vocab_size)
    shard = _arrays(folder, int(begins[-1]), k, len(windows), task.vocab_size)
    at = 0
    for some in _some(windows):
        for logits in _logits(task, teacher, examples.batch(some)):
            known = distillation.known_of(logits[:, : task.vocab_size], k, made_with["temperature"])
            rows = slice(at, at + len(logits))
            shard.tokens[rows], shard.logs[rows], shard.rest[rows] = (one.cpu().numpy() for one in known)
            at += len(logits)
    shard.windows[:] = begins
    for array in shard:
        array.flush()  # type: ignore[attr-defined]  # it is a memmap
    entries = [manifest.add_file(step.store, folder / f"{name}.npy", f"{name}.npy") for name in ARRAYS]
    step.store.put(key, digest.canonical_json({"entries": [entry.model_dump() for entry in entries]}))
    return entries


def _arrays(folder: Path, places: int, k: int, windows: int, vocabulary: int) -> Shard:
    """Return arrays that lie on disk, to be filled."""
    kind = np.uint16 if vocabulary <= 2**16 else np.uint32
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "tokens": (kind, (places, k)),
        "logs": (np.float32, (places, k)),
        "rest": (np.float32, (places,)),
        "windows": (np.int64, (windows + 1,)),
    }
    files = {name: folder / f"{name}.npy" for name in ARRAYS}
    return Shard(*(np.lib.format.open_memmap(files[n], "w+", *shapes[n]) for n in ARRAYS))


def _some(windows: np.ndarray) -> Iterator[np.ndarray]:
    yield from (windows[first : first + WINDOWS] for first in range(0, len(windows), WINDOWS))


def _learned(batch: Batch) -> torch.Tensor:
    return batch["labels"] != IGNORED


def _logits(task: Any, teacher: Any, batch: Batch) -> Iterator[torch.Tensor]:
    """Yield the teacher's logits at the places that are learned, in order, some places at a time."""
    places = torch.nonzero(_learned(batch).flatten()).flatten()
    device = hardware.pick_device()
    there = to_device(batch, device)
    if ways.takes_plain_head(task.way, teacher):
        rows, head = task.hidden(teacher, there).flatten(0, 1), teacher.get_output_embeddings()
    else:
        rows, head = ways.logits(task.way, teacher, there).flatten(0, 1), nn.Identity()
    for few in places.to(device).split(PLACES):
        yield head(rows[few])
