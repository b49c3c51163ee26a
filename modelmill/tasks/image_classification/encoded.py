"""The corpus of a checkpoint's classifier: images as the encoded files that they are, shard by shard, and labels.

No image is decoded here, so that a corpus takes no more room than its files, and preprocessing no more memory than its
largest file: training decodes them and has the checkpoint's processor prepare them.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, in_memory
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.media import File, contents
from modelmill.corpus.shard_cache import Encoded, ShardCache
from modelmill.corpus.split import SPLITS
from modelmill.data.media import image_processor
from modelmill.data.media.image_processor import ImageProcessor
from modelmill.data.media.refusing import refused
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.sections import PROCESSOR
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_classification.labels import Numbered
from modelmill.tasks.image_classification.recipe import ImagePreprocessing, PretrainedImageModel

# Settings that make no difference to the bytes of a shard's images, nor to their split.
_UNREAD = frozenset(
    {"classes", "other_classes", "labelled_per_class", "size", "channels", "small", "unknown_label", "processor"}
)


def corpus(step: Step, shards: list[tuple[Shard, str]], rows: AllRows, numbered: Numbered, kept: np.ndarray) -> Made:
    """Return the corpus.

    Each split has parts of `image`, encoded files, as `example_shards` writes them, of all rows in their order; and of
    the rows that are kept `places`, their numbers in these parts, `labels` as in `Numbered`, and `ids`. `checkpoint/`
    has the checkpoint's configuration and its image processor.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        rows: All rows, in the order of the shards.
        numbered: Labels of the rows that are kept.
        kept: Numbers of the rows that are kept, in their order.

    Raises:
        UserError: The checkpoint has no image processor, or one that does not prepare images for a classifier.
    """
    settings = step.recipe.preprocessing
    assert isinstance(settings, ImagePreprocessing)
    files = _checkpoint(step, settings, numbered.classes)
    encoded = _encoded(step, shards, rows)
    places = _places(rows.splits)[kept]
    chosen = AllRows({}, rows.splits[kept], rows.ids[kept], [])
    arrays = {"places": places, "labels": numbered.labels}
    info = {"model": AUTO, "classes": numbered.classes, "other_classes": []}
    made = in_memory.corpus(step, in_memory.by_split(chosen, arrays), info, files)
    manifest = made.outputs["corpus"]
    entries = [entry for number, one in enumerate(encoded) for entry in one.numbered(number)]
    made.outputs["corpus"] = manifest.model_copy(update={"entries": [*manifest.entries, *entries]})
    return made


def _checkpoint(step: Step, settings: ImagePreprocessing, classes: list[str]) -> dict[str, bytes]:
    """Return the checkpoint's files, with the recipe's size of images where it names one.

    Raises:
        UserError: It has no image processor, or its labels contradict the data's.
    """
    source = settings.given_checkpoint
    assert source is not None
    folder = checkpoint.the_checkpoint(step, PROCESSOR, source)
    where, files = f"{PROCESSOR}: {source}", checkpoint.files(folder)
    config = weights.read_json(where, folder / weights.CONFIG)
    checkpoint.agreed_labels(where, config, PretrainedImageModel.heads[0], classes)
    if settings.processor.size is not None:
        with refused(where):
            resized = image_processor.resized(folder, settings.processor.size)
        files.pop(f"checkpoint/{image_processor.NESTED}", None)
        files[f"checkpoint/{image_processor.FILE}"] = resized
    _require_processor(where, files, step.scratch / "processor", settings.processor.size)
    return files


def _require_processor(where: str, files: dict[str, bytes], folder: Path, size: int | None) -> None:
    """Check that the processor prepares images, of the wanted size.

    Raises:
        UserError: It does not.
    """
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / Path(name).name).write_bytes(data)
    with refused(where):
        shape = ImageProcessor(folder).shape
    if size is not None and shape[1:] != (size, size):
        raise UserError(
            f"{where}: its image processor gives {shape[2]} x {shape[1]} pixels where preprocessing.processor.size is "
            f"{size}; leave that out"
        )


def _encoded(step: Step, shards: list[tuple[Shard, str]], rows: AllRows) -> list[Encoded]:
    """Return each shard's images, those of known shards from the cache."""
    cache = ShardCache(step, "images as they are", _UNREAD)
    first, encoded = 0, []
    counts = {uri: len(list(files)) for uri, files in groupby(file.shard.uri for file in rows.files)}
    for number, (shard, sha256) in enumerate(shards):
        step.progress(number, len(shards), "copying images")
        chosen = range(first, first + counts.get(shard.uri, 0))
        first = chosen.stop
        found = cache.find(sha256)
        encoded.append(found or _keep(cache, sha256, rows, chosen, step.scratch / f"images-{number}"))
    return encoded


def _keep(cache: ShardCache, sha256: str, rows: AllRows, chosen: range, folder: Path) -> Encoded:
    with ShardedWriter(folder) as writer:
        for row, data in zip(chosen, _images(rows.files[chosen.start : chosen.stop]), strict=True):
            writer.add(str(rows.splits[row]), int(rows.ids[row]), {"image": data})
    kept = cache.keep(sha256, writer.files(), {split: {"images": count} for split, count in writer.counts.items()})
    for file in writer.files().values():
        file.unlink()  # the store has it
    return kept


def _images(files: list[File]) -> Iterator[np.ndarray]:
    for data in contents(files):
        yield np.frombuffer(data, np.uint8)


def _places(splits: np.ndarray) -> np.ndarray:
    """Return the number of each row among those of its split: int64, (rows,)."""
    places = np.empty(len(splits), np.int64)
    for split in SPLITS:
        members = splits == split
        places[members] = np.arange(int(members.sum()))
    return places
