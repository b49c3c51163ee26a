"""Batch normalisation with kept averages, whose gradients are those of its formula however the incoming ones lie."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from modelmill.tasks.pretrained import norms

CHANNELS, SIDE = 16, 4
# Distances of values in memory along (examples, channels, rows, columns), as backward passes make them: of rows; of
# channels last; and of channels last where a single example follows the last one after a pixel (RT-DETR's encoder).
LAYOUTS = {"rows": (256, 16, 4, 1), "channels last": (256, 1, 64, 16), "one": (16, 1, 64, 16)}


def network() -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(CHANNELS)
    with torch.no_grad():
        for one in (norm.weight, norm.running_var):
            one.uniform_(0.5, 2)
        for one in (norm.bias, norm.running_mean):
            one.normal_()
    model = nn.Sequential(norm)
    norms.keep_averages(model)
    return model.train()


def gradients(model: Any, pixels: torch.Tensor, incoming: torch.Tensor) -> list[torch.Tensor]:
    pixels = pixels.clone().requires_grad_()
    made = model(pixels)
    made += pixels.detach()  # as ResNet adds what goes past a block
    made.backward(incoming)
    return [pixels.grad, *(one.grad for one in model.parameters())]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_of_a_single_example_are_those_of_the_formula(layout: str) -> None:
    model = network()
    pixels = torch.randn(1, CHANNELS, SIDE, SIDE)
    incoming = torch.randn(pixels.numel()).as_strided(pixels.shape, LAYOUTS[layout])
    found = gradients(copy.deepcopy(model), pixels, incoming)
    norm: Any = model[0]
    wide = incoming.double()
    across = (None, slice(None), None, None)
    inverse = (norm.running_var.double() + norm.eps).rsqrt()
    normal = (pixels.double() - norm.running_mean.double()[across]) * inverse[across]
    expected = [
        wide * (norm.weight.double() * inverse)[across],
        (wide * normal).sum((0, 2, 3)),
        wide.sum((0, 2, 3)),
    ]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours.double(), theirs, atol=1e-4)


def test_the_gradient_of_a_batch_is_the_sum_of_its_examples() -> None:
    model = network()
    pixels, incoming = torch.randn(2, 3, CHANNELS, SIDE, SIDE).unbind()
    whole = gradients(copy.deepcopy(model), pixels, incoming)
    alone = [gradients(copy.deepcopy(model), pixels[n : n + 1], incoming[n : n + 1]) for n in range(3)]
    assert torch.allclose(whole[0], torch.cat([one[0] for one in alone]), atol=1e-5)
    for place in (1, 2):
        assert torch.allclose(whole[place], torch.stack([one[place] for one in alone]).sum(0), atol=1e-4)
    assert not model[0].training
