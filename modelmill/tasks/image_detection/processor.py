"""A checkpoint's own image processor: pictures into what its detector takes, and its answers into boxes."""

import inspect
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CONFIG, PROCESSOR, NESTED = "config.json", "preprocessor_config.json", "processor_config.json"
MOST = 100
_NEEDS_TORCHVISION = (
    "its image processor needs torchvision, and transformers has no other form of it; take a detector with another"
)


class Unprepared(Exception):
    """A processor that cannot prepare pictures for a detector here, in one line: a served model has no other errors."""


class Place(NamedTuple):
    """Where a picture is in its frame, each as height and width.

    Attributes:
        size: The picture's own size.
        frame: The frame's, as a detector takes it.
        content: That of the part, in the upper left, that the picture fills.
    """

    size: tuple[int, int]
    frame: tuple[int, int]
    content: tuple[int, int]

    @property
    def scale(self) -> np.ndarray:
        """Return what a box's left, top, right and bottom are multiplied with to be parts of the frame."""
        down, across = (
            held / had / whole for held, had, whole in zip(self.content, self.size, self.frame, strict=True)
        )
        return np.array([across, down] * 2)


class Prepared(NamedTuple):
    """A picture as a detector takes it.

    Attributes:
        values: float32, (3, height, width).
        content: Height and width of the part that holds the picture, in the upper left.
    """

    values: np.ndarray
    content: tuple[int, int]

    @property
    def frame(self) -> tuple[int, int]:
        """Return height and width of the frame."""
        _, height, width = self.values.shape
        return height, width

    def place(self, pixels: np.ndarray) -> Place:
        """Return where a picture is in the frame.

        Args:
            pixels: The picture, (height, width, 3).
        """
        height, width, _ = pixels.shape
        return Place((height, width), self.frame, self.content)


def load(folder: Path) -> Any:
    """Return the image processor of a checkpoint, which works with Pillow and numpy.

    Args:
        folder: Holds `config.json` and `preprocessor_config.json`.

    Raises:
        Unprepared: There is none, or none that finds boxes, or it needs torchvision or code of its own.
    """
    from transformers import AutoImageProcessor
    from transformers.utils import logging as their_logging

    if not any((folder / name).is_file() for name in (PROCESSOR, NESTED)):
        raise Unprepared(f"no {PROCESSOR} in it; name a checkpoint that has one")
    before = their_logging.get_verbosity()
    their_logging.set_verbosity_error()
    try:
        processor = AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library raises whatever its files make it stumble over
        if "torchvision" in str(error):
            raise Unprepared(_NEEDS_TORCHVISION) from error
        raise Unprepared(f"not an image processor that transformers loads here: {_short(error)}") from error
    finally:
        their_logging.set_verbosity(before)
    if getattr(processor, "backend", None) != "pil":
        raise Unprepared(_NEEDS_TORCHVISION)
    if not hasattr(processor, "post_process_object_detection"):
        raise Unprepared(f"{type(processor).__name__} is not the processor of a detector; name a detector's checkpoint")
    return processor


def prepare(processor: Any, pixels: np.ndarray) -> Prepared:
    """Return a picture as the processor makes it, alone: nothing is added beside it but what the processor always adds.

    Args:
        processor: As `load` returns it.
        pixels: uint8, (height, width, 3).

    Raises:
        Unprepared: The processor cannot, with its size.
    """
    try:
        made = processor(images=pixels, input_data_format="channels_last", return_tensors="np")
    except Exception as error:  # whatever a processor raises of settings that do not fit each other
        height, width, _ = pixels.shape
        raise Unprepared(
            f"{type(processor).__name__} cannot prepare a picture of {width} x {height} pixels: {_short(error)}; set "
            "preprocessing.processor.size to another one"
        ) from error
    values = np.asarray(made["pixel_values"][0], np.float32)
    mask = np.asarray(made["pixel_mask"][0]) if "pixel_mask" in made else np.ones(values.shape[1:], np.int64)
    return Prepared(values, (int(mask[:, 0].sum()), int(mask[0].sum())))


def inputs(model: Any, prepared: Prepared) -> dict[str, np.ndarray]:
    """Return what a detector takes for a picture: its values and, where something is beside it, a mask.

    Args:
        model: The detector.
        prepared: The picture.
    """
    if prepared.content == prepared.frame or not takes_masks(model):
        return {"pixel_values": prepared.values}
    mask = np.zeros(prepared.frame, np.int64)
    mask[: prepared.content[0], : prepared.content[1]] = 1
    return {"pixel_values": prepared.values, "pixel_mask": mask}


def takes_masks(model: Any) -> bool:
    """Return whether a detector is told which part of its frame a picture fills."""
    return "pixel_mask" in inspect.signature(model.forward).parameters


def relative(boxes: np.ndarray, place: Place) -> np.ndarray:
    """Return boxes as detectors learn them: middle, width and height as parts of the frame, float32, (objects, 4).

    Args:
        boxes: Left, top, right and bottom in pixels of the picture, (objects, 4).
        place: Where the picture is.
    """
    scaled = boxes.astype(np.float64) * place.scale
    return np.hstack([(scaled[:, :2] + scaled[:, 2:]) / 2, scaled[:, 2:] - scaled[:, :2]]).astype(np.float32)


def found(processor: Any, outputs: Any, places: list[Place], least: float) -> list[tuple[np.ndarray, ...]]:
    """Return boxes in pixels, labels and scores of each picture as the processor reads them, best first.

    Args:
        processor: As `load` returns it.
        outputs: What the detector has returned.
        places: Where each picture is.
        least: The least probability of a box.
    """
    # The size of what the whole frame shows, in pixels of the picture.
    shown = [(float(1 / one.scale[1]), float(1 / one.scale[0])) for one in places]
    answers = processor.post_process_object_detection(outputs, threshold=least, target_sizes=shown)
    kept: list[tuple[np.ndarray, ...]] = []
    for answer, place in zip(answers, places, strict=True):
        boxes, labels, scores = (answer[name].double().cpu().numpy() for name in ("boxes", "labels", "scores"))
        order = np.argsort(-scores, kind="stable")[:MOST]
        height, width = place.size
        kept.append((boxes[order].clip(0, [width, height] * 2), labels[order].astype(np.int64), scores[order]))
    return kept


def has_one_size(processor: Any) -> bool:
    """Return whether all pictures get one size."""
    size = processor.size
    return bool(processor.do_resize and getattr(size, "height", None) and getattr(size, "width", None))


def with_size(files: dict[str, bytes], side: int) -> dict[str, bytes]:
    """Return a checkpoint's files with another size of pictures.

    Args:
        files: By name; one of them describes the processor.
        side: Pixels that the longer side of a picture is scaled to, or of each side where pictures become squares.

    Raises:
        Unprepared: The processor's size is of a kind that has no such side.
    """
    name = next(one for one in files if Path(one).name in (PROCESSOR, NESTED))
    content = json.loads(files[name])
    described = content.get("image_processor", content)
    size = described.get("size", {"shortest_edge": 0, "longest_edge": 0})
    if isinstance(size, int) or {"shortest_edge", "longest_edge"} & size.keys():
        described["size"] = {"shortest_edge": side, "longest_edge": side}
    elif {"height", "width"} == size.keys():
        described["size"] = {"height": side, "width": side}
    else:
        raise Unprepared(
            f"preprocessing.processor.size: the checkpoint's pictures have the size {size}, which has no longer side; "
            "leave it out"
        )
    described.pop("max_size", None)
    return files | {name: json.dumps(content, indent=2, sort_keys=True).encode()}


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
