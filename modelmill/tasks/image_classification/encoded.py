"""The corpus of a checkpoint's classifier: images as the encoded files that they are, shard by shard, and labels.

No image is decoded here, so that a corpus takes no more room than its files, and preprocessing no more memory than its
largest file: training decodes them and has the checkpoint's processor prepare them.
"""

from pathlib import Path

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.media import contents
from modelmill.corpus.row_notes import Piece, ShardRows
from modelmill.data.media import image_processor
from modelmill.data.media.image_processor import ImageProcessor
from modelmill.data.media.refusing import refused
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.sections import PROCESSOR
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.image_classification.recipe import ImagePreprocessing, PretrainedImageModel

# Settings that make no difference to the bytes of a shard's images, nor to their split.
_UNREAD = frozenset(
    {"classes", "other_classes", "labelled_per_class", "size", "channels", "small", "unknown_label", "processor"}
)


def corpus(
    step: Step,
    shards: list[tuple[Shard, str]],
    rows: list[ShardRows],
    labels: dict[str, dict[str, np.ndarray]],
    classes: list[str],
) -> tuple[Made, int]:
    """Return the corpus, and how many shards were not copied before.

    Each split has examples with `image`, an encoded file, and `labels` and `others` as in `Numbered`. `checkpoint/` has
    the checkpoint's configuration and its image processor.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        rows: The rows that are kept, of each shard.
        labels: Their labels, by split and name.
        classes: Names of the classes.

    Raises:
        UserError: The checkpoint has no image processor, or one that does not prepare images for a classifier.
    """
    settings = step.recipe.preprocessing
    assert isinstance(settings, ImagePreprocessing)
    files = _checkpoint(step, settings, classes)
    encoded, new = streaming.encode(step, shards, rows, _encode, "images as they are", _UNREAD)
    info = {"model": AUTO, "classes": classes, "other_classes": []}
    return streaming.corpus(step, encoded, info, files, labels), new


def _encode(piece: Piece, writer: ShardedWriter) -> dict[str, dict[str, int]]:
    """Write images as the files that they are."""
    for split, identity, data in zip(piece.splits, piece.ids, contents(piece.files), strict=True):
        writer.add(split, identity, {"image": np.frombuffer(data, np.uint8)})
    return {}


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
