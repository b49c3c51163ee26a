"""Weights of turns: the loss of a token counts as much as its weight says."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from modelmill.corpus.array_file import PackedFiles
from modelmill.corpus.packing import PairStream, Segment
from modelmill.models.cross_entropy import IGNORED, LinearCrossEntropy
from modelmill.tasks.language_modeling.packed_windows import PackedTokens

U16 = np.dtype(np.uint16)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_weighted_loss_and_its_gradients_are_those_of_the_plain_way(smoothing: float) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(700, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True)
    labels, weights = torch.randint(0, 30, (700,)), torch.rand(700)
    labels[::5] = IGNORED
    nats = F.cross_entropy(hidden @ head.t(), labels, reduction="none", label_smoothing=smoothing)
    expected = (nats * weights).sum()
    made = LinearCrossEntropy()(hidden, head, labels, smoothing, weights)
    torch.testing.assert_close(made, expected)
    for mine, theirs in zip(
        torch.autograd.grad(made, (hidden, head)), torch.autograd.grad(expected, (hidden, head)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_batch_has_the_weight_of_each_label(tmp_path: Path) -> None:
    example = [Segment([5, 6]), Segment([7, 8], 0.5), Segment([9]), Segment([10, 11], 1.0)]
    with PackedFiles(tmp_path, "train/00000.pairs") as files:
        files.append(PairStream(0, 16, U16, frozenset({"weights"})).pack([example]))
        paths = files.files()
    batch = PackedTokens(paths, "train", "pairs", 16).batch(np.array([0]))
    assert batch["weights"].shape == batch["labels"].shape
    assert dict(zip(batch["labels"][0].tolist(), batch["weights"][0].tolist(), strict=True)) == {
        **{7: 0.5, 8: 0.5, 10: 1.0, 11: 1.0, IGNORED: 0.0}
    }
