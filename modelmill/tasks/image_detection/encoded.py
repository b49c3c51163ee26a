"""The corpus of a checkpoint's detector: pictures as the files that they are, shard by shard, with their boxes.

The checkpoint's processor prepares a picture when training or evaluation asks for it, so that a corpus takes no more
room than its files, and preprocessing no more memory than a few pictures.
"""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, in_memory, media
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.shard_cache import Encoded, ShardCache
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.image_detection import processor
from modelmill.tasks.image_detection.objects import RowObjects, clipped, parse, refusal, require_inside
from modelmill.tasks.image_detection.pictures import Unfit
from modelmill.tasks.image_detection.processor import Unprepared
from modelmill.tasks.image_detection.recipe import PicturePreprocessing

# What a corpus has of each picture, by the names of its arrays.
FILE, SIZE, BOXES, LABELS = "file", "size", "boxes", "labels"
# Settings that make no difference to what there is of a shard.
_UNREAD = frozenset({"processor", "size", "single_size", "small"})
_EXAMPLES, _DROPPED = "examples", "dropped"


def corpus(step: Step, shards: list[tuple[Shard, str]], settings: PicturePreprocessing) -> Made:
    """Return the corpus: the checkpoint's description, and of each picture `file`, `size`, `boxes` and `labels`.

    `file` has the bytes of the picture's file, uint8; `size` its height and width, int64, (2,); `boxes` are in pixels,
    float32, (objects, 4); `labels` are int64, (objects,).

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        settings: The recipe's `preprocessing`.

    Raises:
        UserError: The checkpoint has no image processor of a detector, a column is missing or not a list, an image
            cannot be read, the recipe refuses the content of a row, or a split has no picture.
    """
    described = _described(step, settings)
    rows = in_memory.read(
        step, shards, {"preprocessing.boxes": settings.boxes, "preprocessing.labels": settings.labels}
    )
    encoded = _encoded(step, shards, rows, settings)
    counts = {split: sum(one.counts.get(split, {}).get(_EXAMPLES, 0) for one in encoded) for split in SPLITS}
    for split, count in counts.items():
        if not count:
            fraction = "preprocessing.validation or .test" if split == "train" else f"preprocessing.{split}"
            raise UserError(f"{fraction}: no picture is in the {split} split; change it, or add data")
    entries = [manifest.add_bytes(step.store, data, name) for name, data in described.items()]
    entries += [entry for number, one in enumerate(encoded) for entry in one.numbered(number)]
    info = {
        "task": step.recipe.task,
        "model": AUTO,
        "classes": settings.classes,
        "splits": {split: {"examples": count} for split, count in counts.items()},
        "held_out": settings.held_out,
    }
    dropped = sum(one.counts[_DROPPED][_EXAMPLES] for one in encoded)
    headline = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return Made(
        outputs={"corpus": Manifest(kind="corpus", entries=entries, made_from=step.digests, info=info)},
        headline=headline + (f"; {dropped:,} left out" if dropped else ""),
        metrics={f"{split}_examples": count for split, count in counts.items()} | {"dropped": dropped},
    )


def _described(step: Step, settings: PicturePreprocessing) -> dict[str, bytes]:
    """Return the files that describe the checkpoint, whose processor is tried and has the recipe's size.

    Raises:
        UserError: It has none that prepares pictures for a detector here.
    """
    assert settings.given_checkpoint is not None
    folder = checkpoint.the_checkpoint(step, settings.checkpoint_key, settings.given_checkpoint)
    files, size = checkpoint.files(folder), settings.processor.size
    try:
        processor.load(folder)
        return files if size is None else processor.with_size(files, size)
    except Unprepared as error:
        raise UserError(f"{settings.checkpoint_key}: {settings.given_checkpoint}: {error}") from error


def _encoded(
    step: Step, shards: list[tuple[Shard, str]], rows: AllRows, settings: PicturePreprocessing
) -> list[Encoded]:
    """Return each shard's pictures, those of known shards from the cache."""
    cache, first, encoded = ShardCache(step, "pictures as they are", _UNREAD), 0, []
    counts = {uri: len(list(files)) for uri, files in groupby(file.shard.uri for file in rows.files)}
    for number, (shard, sha256) in enumerate(shards):
        chosen = range(first, first + counts.get(shard.uri, 0))
        first = chosen.stop
        step.progress(first, len(rows.files), "pictures")
        encoded.append(cache.find(sha256) or _keep(step, cache, sha256, number, _kept(rows, chosen, settings), rows))
    return encoded


def _keep(
    step: Step,
    cache: ShardCache,
    sha256: str,
    number: int,
    kept: Iterator[tuple[RowObjects | None, bytes, np.ndarray]],
    rows: AllRows,
) -> Encoded:
    dropped = 0
    with ShardedWriter(step.scratch / f"pictures-{number}") as writer:
        for known, data, size in kept:
            if known is None:
                dropped += 1
                continue
            values = {FILE: np.frombuffer(data, np.uint8), SIZE: size, BOXES: known.boxes, LABELS: known.labels}
            writer.add(str(rows.splits[known.row]), int(rows.ids[known.row]), values)
    counts = {split: {_EXAMPLES: count} for split, count in writer.counts.items()} | {_DROPPED: {_EXAMPLES: dropped}}
    stored = cache.keep(sha256, writer.files(), counts)
    for file in writer.files().values():
        file.unlink()  # the store has it
    return stored


def _kept(
    rows: AllRows, chosen: range, settings: PicturePreprocessing
) -> Iterator[tuple[RowObjects | None, bytes, np.ndarray]]:
    """Yield the objects that each row names, None where the recipe drops it, and the file and size of its picture.

    Raises:
        UserError: The recipe refuses the content of a row.
    """
    files = rows.files[chosen.start : chosen.stop]
    for row, (data, pixels) in zip(chosen, media.encoded_images(files), strict=True):
        boxes, labels = rows.columns[settings.boxes][row], rows.columns[settings.labels][row]
        size = np.array(pixels.shape[:2], np.int64)
        try:
            known = parse(row, boxes, labels, settings.classes)
            if len(known.boxes) < len(known.labels):
                raise Unfit("bad_box", f"label {str(labels[0])!r} has no box, and model.type: auto learns from boxes")
            if settings.bad_box == "clip":
                known = clipped(known, pixels)
            require_inside(known.boxes, pixels)
            yield known, data, size
        except Unfit as unfit:
            if settings.policies[unfit.policy] != "drop":
                raise UserError(refusal(rows, row, unfit)) from None
            yield None, data, size
