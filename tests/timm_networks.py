"""ResNet and EfficientNet with the names and the padding of torchvision and timm, written from their papers.

They are what a converted checkpoint is compared with: neither library is installed beside PyTorch's CPU build.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

DEPTHS = {"resnet18": [2, 2, 2, 2], "resnet50": [3, 4, 6, 3]}


def shaken(network: nn.Module) -> nn.Module:
    """A network whose averages, scales and shifts are not those of a new one."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1 and tensor.is_floating_point():
                tensor += 0.1 * torch.randn_like(tensor)
    return network.eval()


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, is_basic: bool) -> None:
        super().__init__()
        self.outputs = width if is_basic else 4 * width
        kernels = [3, 3] if is_basic else [1, 3, 1]
        sizes = [inputs, *[width] * (len(kernels) - 1), self.outputs]
        for number, kernel in enumerate(kernels, 1):
            # Version 1.5: the 3 x 3 convolution of a bottleneck has the stride.
            step = stride if number == (1 if is_basic else 2) else 1
            conv = nn.Conv2d(sizes[number - 1], sizes[number], kernel, step, kernel // 2, bias=False)
            setattr(self, f"conv{number}", conv)
            setattr(self, f"bn{number}", nn.BatchNorm2d(sizes[number]))
        self.count, self.downsample = len(kernels), None
        if stride > 1 or inputs != self.outputs:
            conv = nn.Conv2d(inputs, self.outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(self.outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.downsample(x) if self.downsample else x
        for number in range(1, self.count + 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            x = F.relu(x) if number < self.count else x
        return F.relu(x + kept)


class ResNet(nn.Module):
    """torchvision's ResNet, which timm names alike."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for stage, depth in enumerate(DEPTHS[name]):
            blocks: list[Any] = []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(_Block(inputs, 64 * 2**stage, stride, name == "resnet18"))
                inputs = blocks[-1].outputs
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


def even(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A convolution that is padded alike on all sides."""
    return conv(F.pad(x, [conv.kernel_size[0] // 2] * 4))


def same(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A convolution with TensorFlow's padding: what is over goes to the right and to the bottom."""
    pads: list[int] = []
    for size, kernel, stride in zip(x.shape[-2:], conv.kernel_size, conv.stride, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    return conv(F.pad(x, pads))


class _Gate(nn.Module):
    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.conv_reduce, self.conv_expand = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x: torch.Tensor, act: Any) -> torch.Tensor:
        return x * self.conv_expand(act(self.conv_reduce(x.mean((2, 3), keepdim=True)))).sigmoid()


class _Inverted(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, ratio: int, is_lite: bool, pad: Any
    ) -> None:
        super().__init__()
        inner, self.ratio, self.act = inputs * ratio, ratio, F.relu6 if is_lite else F.silu
        self.pad, eps = pad, 1e-3 if pad is same else 1e-5
        sizes = [inner, inner, outputs] if ratio > 1 else [inner, outputs]
        if ratio > 1:
            self.conv_pw = nn.Conv2d(inputs, inner, 1, bias=False)
        self.conv_dw = nn.Conv2d(inner, inner, kernel, stride, groups=inner, bias=False)
        setattr(self, "conv_pwl" if ratio > 1 else "conv_pw", nn.Conv2d(inner, outputs, 1, bias=False))
        for number, size in enumerate(sizes, 1):
            setattr(self, f"bn{number}", nn.BatchNorm2d(size, eps=eps))
        if not is_lite:
            self.se = _Gate(inner, max(1, inputs // 4))
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = x
        if self.ratio > 1:
            x = self.act(self.bn1(self.conv_pw(x)))
            x = self.act(self.bn2(self.pad(self.conv_dw, x)))
        else:
            x = self.act(self.bn1(self.pad(self.conv_dw, x)))
        x = self.se(x, self.act) if hasattr(self, "se") else x
        x = self.bn3(self.conv_pwl(x)) if self.ratio > 1 else self.bn2(self.conv_pw(x))
        return x + kept if self.is_residual else x


class EfficientNet(nn.Module):
    """timm's EfficientNet, with or without gates; `depth` is the factor of the blocks' numbers, `pad` the padding."""

    STAGES = [
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
    ]
    LAST = (3, 1, 6, 320, 1)

    def __init__(self, classes: int, depth: float = 1.0, is_lite: bool = False, pad: Any = same) -> None:
        super().__init__()
        self.act, self.pad, eps = F.relu6 if is_lite else F.silu, pad, 1e-3 if pad is same else 1e-5
        self.conv_stem, self.bn1 = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, eps=eps)
        stages, inputs = [], 32
        for kernel, stride, ratio, outputs, repeats in [*self.STAGES, self.LAST]:
            blocks = []
            for number in range(math.ceil(repeats * depth)):
                blocks.append(_Inverted(inputs, outputs, kernel, 1 if number else stride, ratio, is_lite, pad))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head, self.bn2 = nn.Conv2d(inputs, 1280, 1, bias=False), nn.BatchNorm2d(1280, eps=eps)
        self.classifier = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.act(self.bn1(self.pad(self.conv_stem, x))))
        return self.classifier(self.act(self.bn2(self.conv_head(x))).mean((2, 3)))
