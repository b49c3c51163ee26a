"""ResNet and EfficientNet: how transformers describes them, and what it calls the weights that timm names otherwise.

Networks that transformers does not have are those of `modelmill.models.vision`.
"""

import re
from typing import NamedTuple

from modelmill.runtime.sources import timm_efficientnet
from modelmill.runtime.sources.timm_efficientnet import EFFICIENTNETS, LITE
from modelmill.runtime.sources.timm_names import NOWHERE, Network, Rule

# Blocks of each stage, and their kind.
RESNETS = {
    "resnet18": ([2, 2, 2, 2], "basic"),
    "resnet34": ([3, 4, 6, 3], "basic"),
    "resnet50": ([3, 4, 6, 3], "bottleneck"),
    "resnet101": ([3, 4, 23, 3], "bottleneck"),
    "resnet152": ([3, 8, 36, 3], "bottleneck"),
}
# Networks of `modelmill.models.vision`: pixels of their images, and those that torchvision scales to before it cuts.
VISION = "modelmill_vision"
EVEN = {
    **{f"vgg{depth}{norm}": (224, 256) for depth in (11, 13, 16, 19) for norm in ("", "_bn")},
    "inception_v3": (299, 342),
    "efficientnet_b0": (224, 256),
    "efficientnet_b1": (240, 256),
    "efficientnet_b2": (288, 288),
    "efficientnet_b3": (300, 320),
    "efficientnet_b4": (380, 384),
    "efficientnet_b5": (456, 456),
    "efficientnet_b6": (528, 528),
    "efficientnet_b7": (600, 600),
}
NAMES = (*RESNETS, *EFFICIENTNETS, *EVEN)


class Prepared(NamedTuple):
    """How a network's images are prepared, where nothing else is said.

    Attributes:
        pixels: Pixels a side.
        scaled: Pixels of the shorter side that they are scaled to, before the middle is cut out.
        interpolation: How they are scaled.
        mean: What is subtracted of each channel, of values from 0 to 1.
        std: What each channel is divided by.
    """

    pixels: int
    scaled: int
    interpolation: str
    mean: list[float]
    std: list[float]


def of(name: str, pixels: int, is_timms: bool) -> Network:
    """Return the network of an architecture.

    Args:
        name: One of `NAMES`.
        pixels: Pixels a side of the images that it has learned.
        is_timms: Whether it is timm's; else it is torchvision's.
    """
    if name in EVEN:
        return _even(name, is_timms)
    return _resnet(name) if name in RESNETS else timm_efficientnet.as_tensorflow(name, pixels)


def prepared(name: str) -> Prepared:
    """Return how images are prepared for an architecture, where its configuration does not say that."""
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    if LITE in name or name == "inception_v3":  # torchvision's does so itself, whatever it is given
        mean, std = [0.5] * 3, [0.5] * 3
    if name in EFFICIENTNETS:
        pixels = EFFICIENTNETS[name][2]
        return Prepared(pixels, round(pixels / 0.875), "bicubic", mean, std)
    interpolation = "bicubic" if name.startswith("efficientnet") else "bilinear"
    return Prepared(*EVEN.get(name, (224, 256)), interpolation, mean, std)


def _resnet(name: str) -> Network:
    depths, kind = RESNETS[name]
    widths = [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048]
    described = {
        "model_type": "resnet",
        "architectures": ["ResNetForImageClassification"],
        "depths": depths,
        "hidden_sizes": widths,
        "layer_type": kind,
        "embedding_size": 64,
        "downsample_in_bottleneck": False,
    }

    def layer(match: re.Match[str]) -> str:
        stage, block, kind, number, rest = match.groups()
        part = "convolution" if kind == "conv" else "normalization"
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.layer.{int(number) - 1}.{part}.{rest}"

    def shortcut(match: re.Match[str]) -> str:
        stage, block, number, rest = match.groups()
        part = ("convolution", "normalization")[int(number)]
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{part}.{rest}"

    rules: list[Rule] = [
        (r"conv1\.(weight)", r"resnet.embedder.embedder.convolution.\1"),
        (r"bn1\.(.+)", r"resnet.embedder.embedder.normalization.\1"),
        (r"layer([1-4])\.(\d+)\.(conv|bn)([1-3])\.(.+)", layer),
        (r"layer([1-4])\.(\d+)\.downsample\.([01])\.(.+)", shortcut),
        (r"fc\.(weight|bias)", r"classifier.1.\1"),
    ]
    return Network(described, rules)


def _even(name: str, is_timms: bool) -> Network:
    described = {
        "model_type": VISION,
        "architectures": ["VisionForImageClassification"],
        "network": name,
        "batch_norm_eps": 1e-5 if is_timms and name.startswith("efficientnet") else None,
    }
    wide = ("network.classifier.0.weight", "network.classifier.3.weight")
    rules: list[Rule] = [
        (r"features\.(.+)", r"network.features.\1"),
        (r"classifier\.([03])\.(.+)", r"network.classifier.\1.\2"),
        (r"classifier\.6\.(.+)", r"classifier.\1"),
        (r"pre_logits\.fc1\.(.+)", r"network.classifier.0.\1"),
        (r"pre_logits\.fc2\.(.+)", r"network.classifier.3.\1"),
        (r"head\.fc\.(.+)", r"classifier.\1"),
    ]
    if name == "inception_v3":
        rules = [
            (r"AuxLogits\..+", NOWHERE),
            (r"((?:Conv2d|Mixed)_.+)", r"network.\1"),
            (r"fc\.(.+)", r"classifier.\1"),
        ]
    if name.startswith("efficientnet"):
        rules = [
            (r"features\.(.+)", r"network.features.\1"),
            (r"classifier\.1\.(.+)", r"classifier.\1"),
            *timm_efficientnet.as_torchvision(),
        ]
    return Network(described, rules, flat=wide if name.startswith("vgg") else ())
