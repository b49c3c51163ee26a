"""Muon in the number format that the hardware multiplies, against PyTorch's."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from modelmill.recipe import Training
from modelmill.training.device.precision import product_dtype
from modelmill.training.loop.muon import Muon

SHAPES = ((24, 16), (16, 24), (24, 16), (32, 32), (8, 40))


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def moved(optimizer: torch.optim.Optimizer, matrices: list[nn.Parameter], steps: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for matrix in matrices:
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        optimizer.step()
    return [matrix.detach().clone() for matrix in matrices]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_steps_are_those_of_torch_but_for_the_rounding_of_bf16(dtype: torch.dtype) -> None:
    before, mine, theirs = parameters(), parameters(), parameters()
    ours = moved(Muon(mine, 0.01, 0.1, dtype), mine)
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for start, one, other in zip(before, ours, moved(reference, theirs), strict=True):
        change = (other - start).norm()
        assert (one - other).norm() < 0.02 * change


def test_products_are_in_the_given_format(monkeypatch: pytest.MonkeyPatch) -> None:
    used = set()
    add = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *a, **k: used.add(a[0].dtype) or add(*a, **k))
    matrices = parameters()[-1:]
    moved(Muon(matrices, 0.01, 0.1, torch.float32), matrices, 1)
    assert used == {torch.float32}


def test_a_cpu_that_keeps_to_avx2_multiplies_in_fp32() -> None:
    code = (
        "import torch; from modelmill.recipe import Training; from modelmill.training.device import precision as p;"
        "s = Training(steps=1, learning_rate=0.1); cpu = torch.device('cpu');"
        "print(p.has_bf16(cpu), p.product_dtype(cpu, s), p.compute_dtype(cpu, s, True))"
    )
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "torch.float32", "torch.float32"]


def test_fp32_in_a_recipe_is_fp32_in_the_optimizer() -> None:
    assert product_dtype(torch.device("cpu"), Training(steps=1, learning_rate=0.1, precision="fp32")) == torch.float32
