"""Weights of ResNet and EfficientNet as torchvision and timm name them, laid out as transformers has these networks.

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
from modelmill.runtime.sources.timm_networks import LITE, Network, Tensors

ARCHITECTURE = "architecture"
PROCESSOR = "preprocessor_config.json"
_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "interpolation": "bicubic"}
_RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
_OTHERS = ("vgg", "inception", "efficientnet", "resnext", "wide_resnet", "densenet", "mobilenet")


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
    network = timm_networks.of(name, _pixels(name, config))
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
    why = ""
    if name.startswith("efficientnet"):
        why = ": it pads images evenly, transformers' EfficientNet as TensorFlow does; take tf_efficientnet_b0 to b7"
    elif name.startswith(_OTHERS):
        why = ": transformers has no such network"
    raise UserError(
        f"{where}: {name:.80} in the layout of timm or torchvision cannot be taken{why}; those that can: "
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
    converted: Tensors = {}
    for theirs, tensor in tensors.items():
        ours = network.renamed(theirs)
        if ours is None:
            raise UserError(
                f"{where}: {WEIGHTS} holds {theirs}, which {name} does not have; does {CONFIG} name another network "
                "than that of the weights?"
            )
        converted[ours] = tensor
    return converted | network.more(converted)


def _labels(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that names the classes."""
    count = int(config.get("num_classes") or config.get("pretrained_cfg", {}).get("num_classes") or 1000)
    names = config.get("label_names") or config.get("pretrained_cfg", {}).get("label_names")
    if not (isinstance(names, list) and len(names) == count):
        names = [f"LABEL_{number}" for number in range(count)]
    return {
        "id2label": {str(number): str(name) for number, name in enumerate(names)},
        "label2id": {str(name): number for number, name in enumerate(names)},
    }


def _pixels(name: str, config: Mapping[str, Any]) -> int:
    """Return the pixels a side of the images that the network has learned."""
    size = (config.get("pretrained_cfg") or {}).get("input_size")
    return int(size[-1]) if size else timm_networks.pixels(name)


def _processor(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how images are prepared: scaled on their shorter side, cut to the middle, normalised."""
    given = config.get("pretrained_cfg") or {}
    lite = {"mean": [0.5] * 3, "std": [0.5] * 3} if LITE in name else {}
    said = _IMAGENET | lite | {key: given[key] for key in ("mean", "std", "interpolation") if key in given}
    pixels = _pixels(name, config)
    share = given.get("crop_pct") or 0.875
    return {
        "image_processor_type": "ViTImageProcessor" if share == 1 else "BitImageProcessor",
        "do_resize": True,
        "size": {"height": pixels, "width": pixels} if share == 1 else {"shortest_edge": int(pixels / share)},
        "resample": _RESAMPLE.get(str(said["interpolation"]), 3),
        **({} if share == 1 else {"do_center_crop": True, "crop_size": {"height": pixels, "width": pixels}}),
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": said["mean"],
        "image_std": said["std"],
    }
