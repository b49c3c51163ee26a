"""VGG and EfficientNet as torchvision has them; modules have its names, and so have the weights."""

import math

import torch
from torch import nn

# Convolutions of each stage of VGG (Simonyan and Zisserman, 2014, https://arxiv.org/abs/1409.1556).
VGGS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
NORMALISED = "_bn"
_WIDTHS = (64, 128, 256, 512, 512)
# Factors of width and depth of EfficientNet (Tan and Le, 2019, https://arxiv.org/abs/1905.11946).
EFFICIENTNETS = {
    "efficientnet_b0": (1.0, 1.0),
    "efficientnet_b1": (1.0, 1.1),
    "efficientnet_b2": (1.1, 1.2),
    "efficientnet_b3": (1.2, 1.4),
    "efficientnet_b4": (1.4, 1.8),
    "efficientnet_b5": (1.6, 2.2),
    "efficientnet_b6": (1.8, 2.6),
    "efficientnet_b7": (2.0, 3.1),
}
# Kernel, stride, factor of the channels within, channels and blocks of each stage.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class VGG(nn.Module):
    """The network up to its last layer; a vector of `features` an image."""

    features_out = 4096

    def __init__(self, name: str, channels: int = 3) -> None:
        """Build the network with random weights.

        Args:
            name: One of `VGGS`, with `_bn` at its end for batch normalisation.
            channels: Channels of the image.
        """
        super().__init__()
        layers: list[nn.Module] = []
        for width, count in zip(_WIDTHS, VGGS[name.removesuffix(NORMALISED)], strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                layers += [nn.BatchNorm2d(width)] if name.endswith(NORMALISED) else []
                layers.append(nn.ReLU(inplace=True))
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        wide = [nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 4096)]
        self.classifier = nn.Sequential(*wide, nn.ReLU(inplace=True), nn.Dropout())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of images, (batch, features)."""
        made: torch.Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return made


class Gate(nn.Module):
    """Squeeze and excitation (Hu et al., 2017, https://arxiv.org/abs/1709.01507)."""

    def __init__(self, channels: int, reduced: int) -> None:
        """Build it with random weights."""
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input, each channel times its gate."""
        gates: torch.Tensor = self.fc2(nn.functional.silu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))).sigmoid()
        return x * gates


class Inverted(nn.Module):
    """An inverted residual block (Sandler et al., 2018, https://arxiv.org/abs/1801.04381) with a gate."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, ratio: int, eps: float) -> None:
        """Build it with random weights."""
        super().__init__()
        inner = inputs * ratio
        layers: list[nn.Module] = [_convolution(inputs, inner, 1, eps=eps)] if ratio > 1 else []
        layers.append(_convolution(inner, inner, kernel, stride, inner, eps=eps))
        layers.append(Gate(inner, max(1, inputs // 4)))
        layers.append(_convolution(inner, outputs, 1, eps=eps, is_active=False))
        self.block = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations."""
        made: torch.Tensor = self.block(x)
        return made + x if self.is_residual else made


class EfficientNet(nn.Module):
    """The network up to its last layer, with evenly padded images; a vector of `features` an image."""

    def __init__(self, name: str, channels: int = 3) -> None:
        """Build the network with random weights.

        Args:
            name: One of `EFFICIENTNETS`.
            channels: Channels of the image.
        """
        super().__init__()
        width, depth = EFFICIENTNETS[name]
        eps = 0.001 if name in ("efficientnet_b5", "efficientnet_b6", "efficientnet_b7") else 1e-5
        inputs = rounded(32 * width)
        stages: list[nn.Module] = [_convolution(channels, inputs, 3, 2, eps=eps)]
        for kernel, stride, ratio, given, count in STAGES:
            outputs, blocks = rounded(given * width), []
            for number in range(math.ceil(count * depth)):
                blocks.append(Inverted(inputs, outputs, kernel, 1 if number else stride, ratio, eps))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.features_out = 4 * inputs
        self.features = nn.Sequential(*stages, _convolution(inputs, self.features_out, 1, eps=eps))
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of images, (batch, features)."""
        made: torch.Tensor = self.dropout(self.features(x).mean(dim=(2, 3)))
        return made


def rounded(channels: float) -> int:
    """Return a number of channels that 8 divides, as EfficientNet rounds them."""
    made = max(8, int(channels + 4) // 8 * 8)
    return made + 8 if made < 0.9 * channels else made


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, eps: float = 1e-5, is_active: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=eps),
    ]
    return nn.Sequential(*layers, *([nn.SiLU(inplace=True)] if is_active else []))
