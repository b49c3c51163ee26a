"""The layers of the image networks, as `modelmill.models.layers` describes layers; all end in a vector of features."""

from typing import Any

Layers = list[list[Any]]


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> Layers:
    """Return a convolution with normalisation and ReLU."""
    return [["conv", inputs, outputs, kernel, stride], ["norm", outputs], ["relu"]]


def vgg(channels: int, width: int, stages: int, depth: int) -> Layers:
    """Return pairs of small convolutions, pooled after each stage (Simonyan and Zisserman, 2014).

    https://arxiv.org/abs/1409.1556. As in later networks, the mean stands in for its large linear layers.

    Args:
        channels: Channels of the image.
        width: Channels of the first stage; each later one has twice as many.
        stages: Number of stages.
        depth: Blocks of a stage.
    """
    layers: Layers = []
    inputs = channels
    for outputs in _widths(width, stages):
        for _ in range(depth):
            layers += convolution(inputs, outputs) + convolution(outputs, outputs)
            inputs = outputs
        layers.append(["pool", 2, 2])
    return [*layers, ["mean"]]


def inception(channels: int, width: int, stages: int, depth: int) -> Layers:
    """Return convolutions of several sizes side by side (Szegedy et al., 2014, https://arxiv.org/abs/1409.4842).

    Args:
        channels: Channels of the image.
        width: Channels of the first stage; each later one has twice as many.
        stages: Number of stages.
        depth: Blocks of a stage.
    """
    layers = convolution(channels, width)
    inputs = width
    for outputs in _widths(width, stages):
        for _ in range(depth):
            layers.append(["concat", *_branches(inputs, outputs)])
            inputs = outputs
        layers.append(["pool", 2, 2])
    return [*layers, ["mean"]]


def resnet(channels: int, width: int, stages: int, depth: int) -> Layers:
    """Return blocks that add to their input (He et al., 2015, https://arxiv.org/abs/1512.03385).

    Args:
        channels: Channels of the image.
        width: Channels of the first stage; each later one has twice as many.
        stages: Number of stages.
        depth: Blocks of a stage.
    """
    layers = convolution(channels, width)
    inputs = width
    for stage, outputs in enumerate(_widths(width, stages)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            added = [*convolution(inputs, outputs, 3, stride), ["conv", outputs, outputs, 3, 1], ["norm", outputs]]
            is_same = stride == 1 and inputs == outputs
            kept: Layers = [] if is_same else [["conv", inputs, outputs, 1, stride], ["norm", outputs]]
            layers += [["sum", added, kept], ["relu"]]
            inputs = outputs
    return [*layers, ["mean"]]


def _branches(inputs: int, outputs: int) -> list[Layers]:
    """Return 1 x 1, 3 x 3 and 5 x 5 convolutions and a pooling, with `outputs` channels in all.

    The larger convolutions work on fewer channels.
    """
    quarter = outputs // 4
    fewer = max(4, quarter // 2)
    return [
        convolution(inputs, quarter, 1),
        convolution(inputs, fewer, 1) + convolution(fewer, quarter, 3),
        convolution(inputs, fewer, 1) + convolution(fewer, quarter, 5),
        [["pool", 3, 1], *convolution(inputs, quarter, 1)],
    ]


def _widths(width: int, stages: int) -> list[int]:
    return [width * 2**stage for stage in range(stages)]


ARCHITECTURES = {"vgg": vgg, "inception": inception, "resnet": resnet}
