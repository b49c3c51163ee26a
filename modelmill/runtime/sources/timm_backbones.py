"""Detectors whose backbone is timm's ResNet, laid out with that of transformers, which computes the same.

DETR and its kin were published with timm's; transformers can build them with its own ResNet, and then needs no timm.
docs/open-models.md has the mapping.
"""

import contextlib
import importlib.metadata
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.runtime.sources import cached, checkpoint, file_digests, layout
from modelmill.runtime.sources.layout import CONFIG, WEIGHTS

KINDS = ("detr", "conditional_detr", "deformable_detr", "dab-detr", "table-transformer")
TIMM = "timm_backbone"
# Blocks of each stage, and their kind.
_RESNETS = {
    "resnet18": ([2, 2, 2, 2], "basic"),
    "resnet34": ([3, 4, 6, 3], "basic"),
    "resnet50": ([3, 4, 6, 3], "bottleneck"),
    "resnet101": ([3, 4, 23, 3], "bottleneck"),
}
_SIZES = {"basic": [64, 128, 256, 512], "bottleneck": [256, 512, 1024, 2048]}
_OF_TIMM = ("use_timm_backbone", "use_pretrained_backbone", "backbone", "backbone_kwargs", "dilation")
# The names of timm and torchvision, and transformers' for them.
_PREFIX = re.compile(r"^(.*\bbackbone\.(?:conv_encoder\.)?model\.)(?:_backbone\.)?(.+)$")
_NAMES = {
    r"conv1\.(?P<last>\w+)": "embedder.embedder.convolution.{last}",
    r"bn1\.(?P<last>\w+)": "embedder.embedder.normalization.{last}",
    r"layer(?P<stage>\d)\.(?P<block>\d+)\.conv(?P<part>\d)\.(?P<last>\w+)": "{inside}.layer.{part}.convolution.{last}",
    r"layer(?P<stage>\d)\.(?P<block>\d+)\.bn(?P<part>\d)\.(?P<last>\w+)": "{inside}.layer.{part}.normalization.{last}",
    r"layer(?P<stage>\d)\.(?P<block>\d+)\.downsample\.0\.(?P<last>\w+)": "{inside}.shortcut.convolution.{last}",
    r"layer(?P<stage>\d)\.(?P<block>\d+)\.downsample\.1\.(?P<last>\w+)": "{inside}.shortcut.normalization.{last}",
}


def is_one(config: dict[str, Any]) -> bool:
    """Return whether a configuration is that of a detector with a backbone from timm.

    Args:
        config: The content of `config.json`.
    """
    if config.get("model_type") not in KINDS:
        return False
    inner = config.get("backbone_config")
    if inner is not None:
        return isinstance(inner, dict) and inner.get("model_type") == TIMM
    return config.get("use_timm_backbone", True) is True


def ready(where: str, folder: Path) -> Path:
    """Return a folder with transformers' own backbone: the one given, or one in the cache that was made of it.

    Args:
        where: Key and source, for messages.
        folder: The model's folder; without weights, only what describes the model is made.

    Raises:
        UserError: The backbone is one that transformers does not have.
    """
    file = folder / CONFIG
    config = layout.read_json(where, file) if file.is_file() else {}
    if not is_one(config):
        return folder
    described = described_anew(where, config)
    weights = checkpoint.weight_files(folder)
    beside = sorted(one for one in folder.iterdir() if layout.is_describing(one.name) and one.name != CONFIG)
    key = digest.of_json(
        [
            importlib.metadata.version("transformers"),
            [[one.name, file_digests.of(one)] for one in (file, *beside, *weights)],
        ]
    )
    place = cached.folder("timm-backbones") / key
    if not (place / CONFIG).is_file():
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            for one in beside:
                shutil.copyfile(one, made / one.name)
            _write_weights(where, weights, made)
            (made / CONFIG).write_text(json.dumps(described, indent=2, sort_keys=True) + "\n", "utf-8")
            with contextlib.suppress(OSError):  # another process was first
                made.rename(place)
    return place


def described_anew(where: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with transformers' own backbone.

    Args:
        where: Key and source, for messages.
        config: One of which `is_one` is true.

    Raises:
        UserError: transformers does not have the backbone.
    """
    inner = config.get("backbone_config") or {}
    name = str(inner.get("backbone") or config.get("backbone") or "resnet50").partition(".")[0]
    dilated = config.get("dilation") or inner.get("output_stride") not in (None, 32)
    if name not in _RESNETS or dilated:
        said = f"{name:.60} with dilation" if dilated else f"{name:.60}"
        raise UserError(
            f"{where}: its backbone is timm's {said}, and transformers has none that computes the same; take a "
            f"detector with one of {', '.join(_RESNETS)}, or one that needs no timm"
        )
    depths, kind = _RESNETS[name]
    several = config["model_type"] == "deformable_detr" and config.get("num_feature_levels", 4) > 1
    backbone = {
        "model_type": "resnet",
        "depths": depths,
        "layer_type": kind,
        "hidden_sizes": _SIZES[kind],
        "embedding_size": 64,
        "num_channels": config.get("num_channels", 3),
        "out_features": ["stage2", "stage3", "stage4"] if several else ["stage4"],
    }
    kept = {key: value for key, value in config.items() if key not in _OF_TIMM}
    return kept | {"use_timm_backbone": False, "backbone_config": backbone}


def renamed(name: str) -> str:
    """Return transformers' name of a weight; those that are not of the backbone keep theirs.

    Args:
        name: The weight's name in a detector with timm's backbone.
    """
    match = _PREFIX.match(name)
    if match is None:
        return name
    for theirs, ours in _NAMES.items():
        if found := re.fullmatch(theirs, match[2]):
            parts = found.groupdict()
            # Stages and convolutions are counted from 1 in timm.
            counted = {key: int(parts[key]) - 1 for key in ("stage", "part") if key in parts}
            inside = f"encoder.stages.{counted['stage']}.layers.{parts['block']}" if counted else ""
            return match[1] + ours.format(inside=inside, **(parts | counted))
    return name


def _write_weights(where: str, files: list[Path], folder: Path) -> None:
    """Write the weights in one file, by transformers' names; the counts of batches are not used by a frozen network.

    Raises:
        UserError: They are of a type that numpy does not have.
    """
    if not files:
        return
    from safetensors.numpy import load_file, save_file

    try:
        tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    except Exception as error:  # of a header, or a type that numpy does not have
        raise UserError(f"{where}: {files[0].name} cannot be read: {error}; save the weights again in fp32") from error
    kept = {renamed(name): tensor for name, tensor in tensors.items() if not name.endswith(".num_batches_tracked")}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
