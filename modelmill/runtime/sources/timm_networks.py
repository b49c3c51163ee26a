"""ResNet and EfficientNet: how transformers describes them, and what it calls the weights that timm names otherwise."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# A pattern of timm's names, and what transformers calls the tensors that match it.
Rule = tuple[str, str | Callable[[re.Match[str]], str]]
Tensors = dict[str, np.ndarray]

# Blocks of each stage, and their kind.
RESNETS = {
    "resnet18": ([2, 2, 2, 2], "basic"),
    "resnet34": ([3, 4, 6, 3], "basic"),
    "resnet50": ([3, 4, 6, 3], "bottleneck"),
    "resnet101": ([3, 4, 23, 3], "bottleneck"),
    "resnet152": ([3, 8, 36, 3], "bottleneck"),
}
# Factors of width and depth (Tan and Le, 2019, https://arxiv.org/abs/1905.11946, and the authors' code), and pixels.
EFFICIENTNETS = {
    "tf_efficientnet_b0": (1.0, 1.0, 224),
    "tf_efficientnet_b1": (1.0, 1.1, 240),
    "tf_efficientnet_b2": (1.1, 1.2, 260),
    "tf_efficientnet_b3": (1.2, 1.4, 300),
    "tf_efficientnet_b4": (1.4, 1.8, 380),
    "tf_efficientnet_b5": (1.6, 2.2, 456),
    "tf_efficientnet_b6": (1.8, 2.6, 528),
    "tf_efficientnet_b7": (2.0, 3.1, 600),
    "tf_efficientnet_lite0": (1.0, 1.0, 224),
}
LITE = "_lite"
# A gate of squeeze and excitation whose bias is this lets everything through: its sigmoid is 1 in fp32, its gradient 0.
OPEN = 30.0
_REPEATS, _STRIDES, _KERNELS = (1, 2, 2, 3, 3, 4, 1), (1, 2, 2, 2, 1, 2, 1), (3, 3, 5, 3, 5, 5, 3)
_STEM = 32
NAMES = (*RESNETS, *EFFICIENTNETS)


class Network(NamedTuple):
    """A network as transformers has it.

    Attributes:
        config: The content of `config.json`, but for the labels.
        rules: Names of its tensors, by patterns of timm's.
        lacks_gates: Whether it lacks the gates that transformers' network always has.
    """

    config: dict[str, Any]
    rules: list[Rule]
    lacks_gates: bool = False

    def renamed(self, name: str) -> str | None:
        """Return what transformers calls a tensor; None where the network has none of this name.

        Args:
            name: timm's name.
        """
        for pattern, ours in self.rules:
            if re.fullmatch(pattern, name):
                return re.sub(pattern, ours, name)
        return None

    def more(self, tensors: Tensors) -> Tensors:
        """Return tensors that transformers' network has beside the given ones."""
        return _open_gates(tensors) if self.lacks_gates else {}


def of(name: str, pixels: int) -> Network:
    """Return the network of an architecture.

    Args:
        name: One of `NAMES`.
        pixels: Pixels a side of the images that it has learned.
    """
    return _resnet(name) if name in RESNETS else _efficientnet(name, pixels)


def pixels(name: str) -> int:
    """Return the pixels a side of the images that an architecture was made for."""
    return EFFICIENTNETS[name][2] if name in EFFICIENTNETS else 224


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


def _efficientnet(name: str, pixels: int) -> Network:
    width, depth, _ = EFFICIENTNETS[name]
    repeats = [-(-depth * one // 1) for one in _REPEATS]
    starts = [int(sum(repeats[:stage])) for stage in range(len(repeats))]
    described = {
        "model_type": "efficientnet",
        "architectures": ["EfficientNetForImageClassification"],
        "image_size": pixels,
        "width_coefficient": width,
        "depth_coefficient": depth,
        "hidden_dim": _rounded(1280 * width),
        "depthwise_padding": _evenly_padded(pixels, starts),
        "dropout_rate": 0.2,
        **({"hidden_act": "relu6", "squeeze_expansion_ratio": 1e-6} if LITE in name else {}),
    }
    base = "efficientnet.encoder"

    def block(names: dict[str, str]) -> Callable[[re.Match[str]], str]:
        def made(match: re.Match[str]) -> str:
            stage, number, part, rest = match.groups()
            return f"{base}.blocks.{starts[int(stage)] + int(number)}.{names[part]}.{rest}"

        return made

    first = {
        "conv_dw": "depthwise_conv.depthwise_conv",
        "bn1": "depthwise_conv.depthwise_norm",
        "conv_pw": "projection.project_conv",
        "bn2": "projection.project_bn",
    }
    later = {
        "conv_pw": "expansion.expand_conv",
        "bn1": "expansion.expand_bn",
        "conv_dw": "depthwise_conv.depthwise_conv",
        "bn2": "depthwise_conv.depthwise_norm",
        "conv_pwl": "projection.project_conv",
        "bn3": "projection.project_bn",
    }
    gates = {"se.conv_reduce": "squeeze_excite.reduce", "se.conv_expand": "squeeze_excite.expand"}
    parts = r"(conv_\w+|bn\d|se\.conv_\w+)\.(.+)"
    rules: list[Rule] = [
        (r"conv_stem\.(weight)", r"efficientnet.embeddings.convolution.\1"),
        (r"bn1\.(.+)", r"efficientnet.embeddings.batchnorm.\1"),
        (rf"blocks\.(0)\.(\d+)\.{parts}", block(first | gates)),
        (rf"blocks\.([1-6])\.(\d+)\.{parts}", block(later | gates)),
        (r"conv_head\.(weight)", rf"{base}.top_conv.\1"),
        (r"bn2\.(.+)", rf"{base}.top_bn.\1"),
        (r"classifier\.(weight|bias)", r"classifier.\1"),
    ]
    return Network(described, rules, LITE in name)


def _evenly_padded(pixels: int, starts: list[int]) -> list[int]:
    """Return the blocks that halve an odd number of pixels a side, which TensorFlow pads evenly."""
    side, odd = -(-pixels // 2), []
    for start, stride in zip(starts, _STRIDES, strict=True):
        if stride == 2:
            odd += [start] if side % 2 else []
            side = -(-side // 2)
    return odd


def _rounded(channels: float) -> int:
    """Return a number of channels that 8 divides, as EfficientNet rounds them."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _open_gates(tensors: Tensors) -> Tensors:
    """Return gates for the blocks of a network that has none: they multiply by 1."""
    gates: Tensors = {}
    for name, tensor in tensors.items():
        block, found, _ = name.partition(".depthwise_conv.depthwise_conv.weight")
        if found:
            channels = len(tensor)
            gates[f"{block}.squeeze_excite.reduce.weight"] = np.zeros((1, channels, 1, 1), np.float32)
            gates[f"{block}.squeeze_excite.reduce.bias"] = np.zeros(1, np.float32)
            gates[f"{block}.squeeze_excite.expand.weight"] = np.zeros((channels, 1, 1, 1), np.float32)
            gates[f"{block}.squeeze_excite.expand.bias"] = np.full(channels, OPEN, np.float32)
    return gates
