"""A checkpoint's own way from pictures to a network's input: its image processor, on Pillow and numpy alone.

transformers has each of its processors twice, on torchvision and on Pillow; the second is the original, and needs
neither torch nor torchvision.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.data.media.unusable import Unusable

FILE, NESTED = "preprocessor_config.json", "processor_config.json"
# Pictures, width and height, that show whether a processor gives one size whatever it is given.
_PROBES = ((64, 40), (40, 64), (51, 51))


class ImageProcessor:
    """The processor in a folder.

    Attributes:
        channels: Channels that it takes: 1 for grey, 3 for RGB.
        shape: Shape of what it gives for any picture: channels, height, width.
        black: What it makes of black: float32, (channels, 1, 1).
        white: What it makes of white; values between are in between, as far.
    """

    def __init__(self, folder: Path) -> None:
        """Load the processor.

        Args:
            folder: Holds `preprocessor_config.json` and the model's `config.json`.

        Raises:
            Unusable: There is none, it is no image processor of transformers, or its output is not one tensor of one
                size.
        """
        name = named(folder)
        self.channels = _channels(folder)
        self._process = _load(folder, name)
        self.shape = self._probe(name)
        self.black, self.white = (self(self._plain(value)).mean(axis=(1, 2), keepdims=True) for value in (0, 255))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Return a picture as the network takes it: float32, (channels, height, width).

        Args:
            pixels: uint8, (height, width, channels), as `images.decode` gives them.
        """
        made: np.ndarray = self._output(pixels)["pixel_values"]
        return np.ascontiguousarray(made[0], np.float32)

    def _output(self, pixels: np.ndarray) -> Any:
        from PIL import Image

        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self._process(images=[picture], return_tensors="np")

    def _plain(self, value: int) -> np.ndarray:
        return np.full((*_PROBES[0][::-1], self.channels), value, np.uint8)

    def _probe(self, name: str) -> tuple[int, int, int]:
        """Return the shape that pictures of any size get.

        Raises:
            Unusable: They get several, or the network is given more than pixels.
        """
        draws, shapes = np.random.default_rng(0), set()
        for width, height in _PROBES:
            pixels = draws.integers(0, 256, (height, width, self.channels), np.uint8)
            try:
                made = self._output(pixels)
            except Exception as error:  # whatever a processor raises for settings that do not fit each other
                raise Unusable(f"{name} cannot process a picture: {_first_line(error)}") from error
            if list(made) != ["pixel_values"]:
                raise Unusable(
                    f"{name} gives {', '.join(made)}, a classifier of images takes pixel_values alone; "
                    "take a checkpoint of image classification"
                )
            shapes.add(np.shape(made["pixel_values"])[1:])
        if len(shapes) > 1:
            sizes = sorted({f"{shape[-1]} x {shape[-2]}" for shape in shapes})
            raise Unusable(
                f"{name} gives pictures of several sizes ({', '.join(sizes)}), which cannot share a batch; "
                "set preprocessing.processor.size"
            )
        channels, height, width = shapes.pop()
        return int(channels), int(height), int(width)


def read(folder: Path) -> dict[str, Any]:
    """Return what a folder says of its image processor.

    Args:
        folder: The folder.

    Raises:
        Unusable: It says nothing.
    """
    for name in (NESTED, FILE):
        content = _read(folder / name) if (folder / name).is_file() else {}
        content = content.get("image_processor", {}) if name == NESTED else content
        if isinstance(content, dict) and content:
            return content
    raise Unusable(
        f"no {FILE} in it, so how pictures are scaled for this model is not known; copy that file, too, or "
        "name a checkpoint that has one in preprocessing.processor.from"
    )


def resized(folder: Path, size: int) -> bytes:
    """Return the `preprocessor_config.json` of a folder with another size of the pictures.

    What is scaled before it is cropped keeps the proportion of both sizes.

    Args:
        folder: The folder.
        size: Pixels of a side.
    """
    settings = read(folder)
    square = {"height": size, "width": size}
    crops = settings.get("do_center_crop", "crop_size" in settings)
    edge = settings.get("size")
    edge = edge.get("shortest_edge") if isinstance(edge, dict) else edge
    cropped = settings.get("crop_size")
    cropped = cropped.get("height") if isinstance(cropped, dict) else cropped
    if crops and isinstance(edge, int) and isinstance(cropped, int):
        changes: dict[str, Any] = {"size": {"shortest_edge": round(edge * size / cropped)}, "crop_size": square}
    elif "crop_pct" in settings:  # of ConvNeXt, which crops by a fraction of its size
        changes = {"size": {"shortest_edge": size}}
    else:
        changes = {"size": square} | ({"crop_size": square} if crops else {})
    return json.dumps(settings | changes, indent=2, sort_keys=True).encode()


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise Unusable(f"{file.name}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Unusable(f"{file.name}: not a JSON object")
    return content


def named(folder: Path) -> str:
    """Return the name of a processor's class, without what tells its kinds apart; transformers is not asked.

    Args:
        folder: The folder.

    Raises:
        Unusable: There is no image processor, or it would take code of the checkpoint's own.
    """
    settings = read(folder)
    if settings.get("auto_map"):
        raise Unusable(
            f"{FILE} needs code that comes with the model (auto_map), and such code is never run; take a "
            "model whose processor is in transformers"
        )
    given = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    name = str(given or "").removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    if not name.endswith("ImageProcessor") or "sampling_rate" in settings:
        said = f"is of the class {given!s:.80}, which is no image processor" if given else "names no class"
        raise Unusable(f"{FILE} {said}; take the file of a checkpoint that classifies images")
    return name


def _channels(folder: Path) -> int:
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return 1 if config.get("num_channels") == 1 else 3


def _load(folder: Path, name: str) -> Any:
    import transformers
    from transformers.models.auto import image_processing_auto as known

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        kind = known.get_image_processor_class_from_name(f"{name}Pil") or known.get_image_processor_class_from_name(
            name
        )
        if kind is None:
            raise Unusable(f"{FILE} is of the class {name:.80}, which transformers does not have")
        return kind.from_pretrained(folder, local_files_only=True)
    except Unusable:
        raise
    except Exception as error:  # whatever a processor raises for settings that are not its own
        raise Unusable(f"{name} cannot be loaded: {_first_line(error)}") from error
    finally:
        transformers.logging.set_verbosity(before)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
