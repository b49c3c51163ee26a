"""EfficientNet of timm: as transformers has it, which pads images as TensorFlow does, and as torchvision has it."""

import re
from collections.abc import Callable

import numpy as np

from modelmill.runtime.sources.timm_names import Network, Rule, Tensors

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


def as_tensorflow(name: str, pixels: int) -> Network:
    """Return the network of an architecture.

    Args:
        name: One of `EFFICIENTNETS`.
        pixels: Pixels a side of the images that it has learned.
    """
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
    network = Network(described, rules)
    return network._replace(more=_open_gates) if LITE in name else network


def as_torchvision() -> list[Rule]:
    """Return what torchvision calls the tensors of timm's networks that pad evenly, below `network`."""
    first = {"conv_dw": "0.0", "bn1": "0.1", "se.conv_reduce": "1.fc1", "se.conv_expand": "1.fc2"}
    first |= {"conv_pw": "2.0", "bn2": "2.1"}
    later = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1"}
    later |= {"se.conv_reduce": "2.fc1", "se.conv_expand": "2.fc2", "conv_pwl": "3.0", "bn3": "3.1"}

    def named(match: re.Match[str]) -> str:
        stage, block, part, rest = match.groups()
        place = (later if int(stage) else first)[part]
        return f"network.features.{int(stage) + 1}.{block}.block.{place}.{rest}"

    return [
        (r"conv_stem\.(.+)", r"network.features.0.0.\1"),
        (r"bn1\.(.+)", r"network.features.0.1.\1"),
        (r"blocks\.([0-6])\.(\d+)\.(conv_\w+|bn\d|se\.conv_\w+)\.(.+)", named),
        (r"conv_head\.(.+)", r"network.features.8.0.\1"),
        (r"bn2\.(.+)", r"network.features.8.1.\1"),
        (r"classifier\.(weight|bias)", r"classifier.\1"),
    ]


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
