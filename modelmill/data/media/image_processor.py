"""A checkpoint's own way from pictures to a network's input: its image processor, on Pillow and numpy alone.

transformers has each of its processors twice, on torchvision and on Pillow; the second is the original, and needs
neither torch nor torchvision.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.core.errors import UserError, one_line

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

    def __init__(self, where: str, folder: Path) -> None:
        """Load the processor.

        Args:
            where: Key and source, for messages.
            folder: Holds `preprocessor_config.json` and the model's `config.json`.

        Raises:
            UserError: There is none, it is no image processor of transformers, or its output is not one tensor of one
                size.
        """
        name = named(where, folder)
        _require_known(where, name)
        self.channels = _channels(folder)
        self._process = _load(where, folder, name)
        self.shape = self._probe(where, name)
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

    def _probe(self, where: str, name: str) -> tuple[int, int, int]:
        """Return the shape that pictures of any size get.

        Raises:
            UserError: They get several, or the network is given more than pixels.
        """
        draws, shapes = np.random.default_rng(0), set()
        for width, height in _PROBES:
            pixels = draws.integers(0, 256, (height, width, self.channels), np.uint8)
            try:
                made = self._output(pixels)
            except Exception as error:  # whatever a processor raises for settings that do not fit each other
                raise UserError(f"{where}: {name} cannot process a picture: {one_line(error)[:200]}") from error
            if list(made) != ["pixel_values"]:
                raise UserError(
                    f"{where}: {name} gives {', '.join(made)}, a classifier of images takes pixel_values alone; "
                    "take a checkpoint of image classification"
                )
            shapes.add(np.shape(made["pixel_values"])[1:])
        if len(shapes) > 1:
            sizes = sorted({f"{shape[-1]} x {shape[-2]}" for shape in shapes})
            raise UserError(
                f"{where}: {name} gives pictures of several sizes ({', '.join(sizes)}), which cannot share a batch; "
                "set preprocessing.processor.size"
            )
        channels, height, width = shapes.pop()
        return int(channels), int(height), int(width)


def read(where: str, folder: Path) -> dict[str, Any]:
    """Return what a folder says of its image processor.

    Args:
        where: Key and source, for messages.
        folder: The folder.

    Raises:
        UserError: It says nothing.
    """
    for name in (NESTED, FILE):
        content = _read(where, folder / name) if (folder / name).is_file() else {}
        content = content.get("image_processor", {}) if name == NESTED else content
        if isinstance(content, dict) and content:
            return content
    raise UserError(
        f"{where}: no {FILE} in it, so how pictures are scaled for this model is not known; copy that file, too, or "
        "name a checkpoint that has one in preprocessing.processor.from"
    )


def resized(where: str, folder: Path, size: int) -> bytes:
    """Return the `preprocessor_config.json` of a folder with another size of the pictures.

    What is scaled before it is cropped keeps the proportion of both sizes.

    Args:
        where: Key and source, for messages.
        folder: The folder.
        size: Pixels of a side.
    """
    settings = read(where, folder)
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


def _read(where: str, file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{where}: {file.name}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{where}: {file.name}: not a JSON object")
    return content


def named(where: str, folder: Path) -> str:
    """Return the name of a processor's class, without what tells its kinds apart; transformers is not asked.

    Args:
        where: Key and source, for messages.
        folder: The folder.

    Raises:
        UserError: There is no image processor, or it would take code of the checkpoint's own.
    """
    settings = read(where, folder)
    if settings.get("auto_map"):
        raise UserError(
            f"{where}: {FILE} needs code that comes with the model (auto_map), and such code is never run; take a "
            "model whose processor is in transformers"
        )
    given = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    name = str(given or "").removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    if not name.endswith("ImageProcessor") or "sampling_rate" in settings:
        said = f"is of the class {given!s:.80}, which is no image processor" if given else "names no class"
        raise UserError(f"{where}: {FILE} {said}; take the file of a checkpoint that classifies images")
    return name


def _require_known(where: str, name: str) -> None:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    classes = {one for kinds in IMAGE_PROCESSOR_MAPPING_NAMES.values() for one in kinds.values() if one}
    if name not in {one.removesuffix("Pil") for one in classes}:
        raise UserError(f"{where}: {FILE} is of the class {name:.80}, which transformers does not have")


def _channels(folder: Path) -> int:
    file = folder / "config.json"
    config = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return 1 if config.get("num_channels") == 1 else 3


def _load(where: str, folder: Path, name: str) -> Any:
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        return transformers.AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # whatever a processor raises for settings that are not its own
        raise UserError(f"{where}: {name} cannot be loaded: {one_line(error)[:200]}") from error
    finally:
        transformers.logging.set_verbosity(before)
