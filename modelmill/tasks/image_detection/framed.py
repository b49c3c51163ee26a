"""Pictures in frames: what a detector of transformers is given, in batches that change nothing for any picture."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from modelmill.corpus.example_shards import ShardedExamples
from modelmill.data.media.images import decode
from modelmill.tasks.contract import Batch
from modelmill.tasks.image_detection import processor
from modelmill.tasks.image_detection.detection import Boxes
from modelmill.tasks.image_detection.processor import Prepared

# Bytes of prepared pictures that are kept: those of small data are seen again and again.
KEPT_BYTES = 256 << 20
# Decoders that work side by side; Pillow leaves Python's lock while it decodes and scales.
_WORKERS = min(8, os.cpu_count() or 1)


class Example(NamedTuple):
    """A picture as it is learned.

    Attributes:
        prepared: The picture in its frame.
        boxes: Middle, width and height as parts of the frame, float32, (objects, 4).
        labels: int64, (objects,).
    """

    prepared: Prepared
    boxes: np.ndarray
    labels: np.ndarray


class Framed:
    """The pictures of one split, decoded and prepared by the checkpoint's processor as they are asked for.

    A batch has `values`, float32, (batch, 3, height, width), with the pictures in the upper left; `frames` and
    `contents`, int64, (batch, 2): height and width of each picture's frame, and of the part that the picture fills;
    `boxes`, float32, (batch, most, 4), middle, width and height as parts of the frame; and `labels`, int64, (batch,
    most), -1 where there is no object.
    """

    lengths: np.ndarray | None = None

    def __init__(self, files: dict[str, Path], split: str, its: Any) -> None:
        """Open a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            its: The checkpoint's processor.
        """
        self.split = split
        self.processor = its
        self.shards = ShardedExamples(files, split)
        self._kept: dict[int, Example] = {}
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="decoder")

    @property
    def ids(self) -> np.ndarray:
        """Return the identities of the pictures."""
        return self.shards.ids

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.shards)

    def pixels(self, index: int) -> np.ndarray:
        """Return a picture as its file has it: uint8, (height, width, 3)."""
        return decode(self.shards.get("file", index).tobytes())

    def size(self, index: int) -> tuple[int, int]:
        """Return a picture's height and width."""
        height, width = self.shards.get("size", index).tolist()
        return height, width

    def known(self, index: int) -> Boxes:
        """Return the known objects of a picture, in its pixels."""
        labels = np.array(self.shards.get("labels", index))
        return Boxes(np.array(self.shards.get("boxes", index), np.float64), labels, np.ones(len(labels)))

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the pictures with these numbers."""
        return batch_of(list(self._pool.map(self._example, indices.tolist())))

    def describe(self, indices: np.ndarray) -> str:
        """Return where these pictures come from, for a person: the first few of them."""
        return f"pictures {', '.join(str(index) for index in indices[:5].tolist())} of the {self.split} split"

    def _example(self, index: int) -> Example:
        kept = self._kept.get(index)
        if kept is not None:
            return kept
        made = example(self.pixels(index), self.known(index), self.processor)
        if (len(self._kept) + 1) * made.prepared.values.nbytes <= KEPT_BYTES:
            self._kept[index] = made
        return made


class Group(NamedTuple):
    """Pictures of a batch that have one frame.

    Attributes:
        places: Their places in the batch.
        inputs: What a detector takes.
        labels: `class_labels` and `boxes` of each picture, as transformers takes them.
    """

    places: list[int]
    inputs: dict[str, torch.Tensor]
    labels: list[dict[str, torch.Tensor]]


def example(pixels: np.ndarray, known: Boxes, its: Any) -> Example:
    """Return a picture as it is learned.

    Args:
        pixels: uint8, (height, width, 3).
        known: Its objects.
        its: The checkpoint's processor.
    """
    prepared = processor.prepare(its, pixels)
    return Example(prepared, processor.relative(known.boxes, prepared.place(pixels)), known.labels)


def batch_of(examples: list[Example]) -> Batch:
    """Return the batch of some pictures; see `Framed`."""
    count, most = len(examples), max((len(one.labels) for one in examples), default=0)
    frames = np.array([one.prepared.frame for one in examples], np.int64)
    values = np.zeros((count, 3, *frames.max(0)), np.float32)
    boxes, labels = np.zeros((count, most, 4), np.float32), np.full((count, most), -1, np.int64)
    for place, one in enumerate(examples):
        values[place, :, : frames[place, 0], : frames[place, 1]] = one.prepared.values
        boxes[place, : len(one.labels)], labels[place, : len(one.labels)] = one.boxes, one.labels
    contents = np.array([one.prepared.content for one in examples], np.int64)
    arrays = {"values": values, "frames": frames, "contents": contents, "boxes": boxes, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def groups(model: Any, batch: Batch, alone: bool = False) -> Iterator[Group]:
    """Yield the pictures of a batch by their frames, so that none is padded beside another.

    Convolutions carry what is beside a picture into it, masked or not: a padded picture has other boxes than it has
    alone.

    Args:
        model: The detector.
        batch: As `Framed` makes it, on the model's device.
        alone: Whether each picture is a group of its own.
    """
    by_frame: dict[tuple[int, ...], list[int]] = {}
    for place, frame in enumerate(batch["frames"].tolist()):
        by_frame.setdefault((*frame, place if alone else 0), []).append(place)
    for (height, width, _), places in by_frame.items():
        values = batch["values"][places, :, :height, :width]
        inputs = {"pixel_values": values.to(model.dtype)}
        contents = batch["contents"][places]
        if processor.takes_masks(model) and (contents != batch["frames"][places]).any():
            rows, columns = (torch.arange(side, device=values.device) for side in (height, width))
            inside = (rows[:, None] < contents[:, :1, None]) & (columns < contents[:, 1:, None])
            inputs["pixel_mask"] = inside.long()
        yield Group(places, inputs, [_known(batch, place) for place in places])


def _known(batch: Batch, place: int) -> dict[str, torch.Tensor]:
    is_there = batch["labels"][place] >= 0
    return {"class_labels": batch["labels"][place][is_there], "boxes": batch["boxes"][place][is_there]}
