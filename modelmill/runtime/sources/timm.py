"""Weights of image classifiers as torchvision and timm name them, laid out as transformers has networks.

A folder with such weights has a `config.json` as timm publishes it: `architecture`, such as `resnet50`, and
`pretrained_cfg`, which says how images are prepared. docs/open-models.md has the mapping.
"""

import contextlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.runtime.sources import cached, file_digests, layout, timm_networks
from modelmill.runtime.sources.layout import CONFIG, WEIGHTS
from modelmill.runtime.sources.timm_names import Network, Tensors

ARCHITECTURE = "architecture"
# What timm says of the weights; torchvision says nothing.
PREPARED = "pretrained_cfg"
PROCESSOR = "preprocessor_config.json"
_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def is_one(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration is one of timm's: it names an architecture, but neither `model_type` nor layers.

    Args:
        config: The content of `config.json`.
    """
    return isinstance(config.get(ARCHITECTURE), str) and not {"model_type", "layers"} & config.keys()


def ready(where: str, folder: Path) -> Path:
    """Return a folder as transformers lays it out: the one given, or one in the cache that was made of it.

    Args:
        where: Key and source, for messages.
        folder: The model's folder; without weights, only what describes the model is made.

    Raises:
        UserError: It is of an architecture that transformers does not have, or its weights are not that architecture's.
    """
    file = folder / CONFIG
    config = layout.read_json(where, file) if file.is_file() else {}
    if not is_one(config):
        return folder
    name = _architecture(where, config)
    weights = [folder / WEIGHTS] if (folder / WEIGHTS).is_file() else []
    described = [file, *(folder / one for one in ("README.md", "LICENSE") if (folder / one).is_file())]
    versions = [importlib.metadata.version("transformers"), "1"]
    key = digest.of_json([versions, [[one.name, file_digests.of(one)] for one in (*described, *weights)]])
    place = cached.folder("timm") / key
    if not (place / CONFIG).is_file():
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            for one in described[1:]:
                shutil.copyfile(one, made / one.name)
            write(made, name, config, _read(where, weights[0]) if weights else None, where)
            with contextlib.suppress(OSError):  # another process was first
                made.rename(place)
    return place


def write(folder: Path, name: str, config: Mapping[str, Any], tensors: Tensors | None, where: str) -> None:
    """Write a model as transformers reads it.

    Args:
        folder: An empty folder.
        name: The architecture.
        config: timm's configuration.
        tensors: The weights by timm's names; None writes only what describes the model.
        where: Key and source, for messages.

    Raises:
        UserError: The weights are not those of the architecture.
    """
    network = timm_networks.of(name, _pixels(name, config), PREPARED in config)
    if tensors is not None:
        from safetensors.numpy import save_file

        save_file(_converted(where, name, tensors, network), folder / WEIGHTS, metadata={"format": "pt"})
        (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
    (folder / PROCESSOR).write_text(json.dumps(_processor(name, config), indent=2, sort_keys=True) + "\n", "utf-8")
    (folder / CONFIG).write_text(json.dumps(network.config | _labels(config), indent=2, sort_keys=True) + "\n", "utf-8")


def _architecture(where: str, config: Mapping[str, Any]) -> str:
    name = str(config[ARCHITECTURE]).partition(".")[0]
    if name in timm_networks.NAMES:
        return name
    raise UserError(
        f"{where}: {name:.80} in the layout of timm or torchvision cannot be taken; those that can: "
        f"{', '.join(timm_networks.NAMES)}"
    )


def _read(where: str, file: Path) -> Tensors:
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except Exception as error:  # of a header, or a type that numpy does not have
        raise UserError(f"{where}: {file.name} cannot be read: {error}; save the weights again in fp32") from error


def _converted(where: str, name: str, tensors: Tensors, network: Network) -> Tensors:
    """Return the weights by transformers' names.

    Raises:
        UserError: A tensor has no place in the architecture.
    """
    try:
        return network.converted(tensors)
    except KeyError as error:
        raise UserError(
            f"{where}: {WEIGHTS} holds {error.args[0]}, which {name} does not have; does {CONFIG} name another network "
            "than that of the weights?"
        ) from error


def _labels(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that names the classes."""
    given = config.get(PREPARED) or {}
    count = int(config.get("num_classes") or given.get("num_classes") or 1000)
    names = config.get("label_names") or given.get("label_names")
    if not (isinstance(names, list) and len(names) == count):
        names = [f"LABEL_{number}" for number in range(count)]
    return {
        "id2label": {str(number): str(name) for number, name in enumerate(names)},
        "label2id": {str(name): number for number, name in enumerate(names)},
    }


def _processor(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how images are prepared: scaled on their shorter side, cut to the middle, normalised."""
    known, given = timm_networks.prepared(name), config.get(PREPARED) or {}
    pixels = _pixels(name, config)
    share = given.get("crop_pct") or known.pixels / known.scaled
    squares = {"height": pixels, "width": pixels}
    is_squashed = given.get("crop_mode") == "squash"
    return {
        "image_processor_type": "ViTImageProcessor" if is_squashed else "BitImageProcessor",
        "do_resize": True,
        "size": squares if is_squashed else {"shortest_edge": int(pixels / share)},
        "resample": _RESAMPLE.get(str(given.get("interpolation", known.interpolation)), _RESAMPLE["bicubic"]),
        **({} if is_squashed else {"do_center_crop": True, "crop_size": squares}),
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(given.get("mean", known.mean)),
        "image_std": list(given.get("std", known.std)),
    }


def _pixels(name: str, config: Mapping[str, Any]) -> int:
    """Return the pixels a side of the images that the network has learned."""
    size = (config.get(PREPARED) or {}).get("input_size")
    return int(size[-1]) if size else timm_networks.prepared(name).pixels
