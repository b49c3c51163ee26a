"""Blocks that stay as they are, and learning rates that fall from block to block."""

import pytest
import torch
from torch import nn

from modelmill.core.errors import UserError
from modelmill.recipe.sections import FineTuning
from modelmill.training.loop import optimization
from modelmill.training.loop.optimization import freeze, make_optimizers, update


class Network(nn.Module):
    """An embedding, three blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.head = nn.Linear(4, 2)

    def moved(self) -> dict[str, float]:
        """How far a step of plain SGD at rate 1, with a gradient of 1 everywhere, moves each part."""
        before = {name: weight.detach().clone() for name, weight in self.named_parameters()}
        for weight in optimization.trainable(self).values():
            weight.grad = torch.ones_like(weight)
        settings = FineTuning(steps=1, learning_rate=1.0, optimizer="sgd", layer_decay=self.decay)
        update(make_optimizers(self, list(self.blocks), settings), 1.0, torch.tensor(False))
        far = {name: (before[name] - weight).mean().item() for name, weight in self.named_parameters()}
        return {name.removesuffix(".weight"): value for name, value in far.items() if name.endswith("weight")}

    decay: float | None = None


def test_rates_fall_from_the_head_to_the_embedding() -> None:
    network = Network()
    network.decay = 0.5
    assert network.moved() == pytest.approx(
        {"head": 1, "blocks.2": 0.5, "blocks.1": 0.25, "blocks.0": 0.125, "embedding": 0.0625}, rel=1e-5
    )
    assert list(Network().moved().values()) == pytest.approx([1.0] * 5)


def test_frozen_blocks_and_what_is_before_them_stay() -> None:
    network = Network()
    freeze(network, list(network.blocks), 2)
    assert network.moved() == pytest.approx(
        {"head": 1, "blocks.2": 1, "blocks.1": 0, "blocks.0": 0, "embedding": 0}, rel=1e-5
    )


def test_muon_takes_the_rates_of_blocks_as_well() -> None:
    network = Network()
    settings = FineTuning(steps=1, learning_rate=1.0, optimizer="muon", layer_decay=0.5)
    groups = [group for one in make_optimizers(network, list(network.blocks), settings) for group in one.param_groups]
    scales = {id(p): group[optimization.SCALE] for group in groups for p in group["params"]}
    assert [scales[id(block.weight)] for block in network.blocks] == [0.125, 0.25, 0.5]
    assert scales[id(network.head.weight)] == 1 and scales[id(network.blocks[0].bias)] == 0.125


def test_more_blocks_than_there_are_cannot_be_frozen() -> None:
    network = Network()
    with pytest.raises(UserError, match=r"fine_tuning\.frozen_layers: 4, but the model has 3 blocks"):
        freeze(network, list(network.blocks), 4)
    with pytest.raises(UserError, match=r"layer_decay: this network has no blocks"):
        make_optimizers(network, [], FineTuning(steps=1, learning_rate=1.0, layer_decay=0.5))
