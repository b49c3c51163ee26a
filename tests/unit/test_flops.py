"""The FLOPs that a plan expects are those that the engine counts, and parameters are those that a model has."""

import contextlib
from pathlib import Path

import pytest
import torch
from torch import nn

from modelmill import recipe as recipes
from modelmill.components.fine_tuning import lora
from modelmill.models import torch_attention
from modelmill.recipe.adapters import LINEAR
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.recipe import DecoderModel
from modelmill.tasks.language_modeling.recipe import Recipe as LanguageModelingRecipe
from modelmill.tasks.language_modeling.shape import Adapters, Decoder
from modelmill.tasks.language_modeling.task import LanguageModeling
from modelmill.training.loop import probe

RECIPES = Path(__file__).parents[2] / "recipes"


def decoder(settings: DecoderModel, length: int, vocabulary: int) -> tuple[LanguageModeling, nn.Module]:
    info = {"sequence_length": length, "vocab_size": vocabulary, "end_of_text": 0}
    task = LanguageModeling(Manifest(kind="corpus", info=info), {}, settings)
    return task, task.build()


def counted(task: LanguageModeling, model: nn.Module) -> float:
    """What the engine's probe counts of one window."""
    tokens = torch.randint(0, task.vocab_size, (1, task.length))
    with torch_attention.as_one():
        return probe.measure(lambda: task.loss(model, {"input_ids": tokens, "labels": tokens}), []).flops


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_demo_decoder_costs_what_the_engine_counts_in_pretraining_and_with_lora() -> None:
    recipe = recipes.load(RECIPES / "python-lm.yaml")
    assert isinstance(recipe, LanguageModelingRecipe) and recipe.fine_tuning is not None
    length, vocabulary = recipe.preprocessing.sequence_length, recipe.preprocessing.tokenizer.vocab_size
    task, model = decoder(recipe.model, length, vocabulary)
    shape = Decoder.of(recipe.model.model_dump(), vocabulary)
    assert shape.parameters == parameters(model)
    assert shape.flops(length) == pytest.approx(counted(task, model), rel=0.01)
    settings = recipe.fine_tuning
    lora.add_adapters(model, settings)
    adapters = Adapters(settings.lora.rank, LINEAR)
    assert shape.flops(length, adapters) == pytest.approx(counted(task, model), rel=0.01)


def test_grouped_keys_and_a_head_of_its_own_are_counted_and_long_windows_attend_more() -> None:
    settings = DecoderModel(
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        tie_word_embeddings=False,
    )
    shape = Decoder.of(settings.model_dump(), 500)
    for length in (64, 512):
        task, model = decoder(settings, length, 500)
        assert shape.parameters == parameters(model)
        assert shape.flops(length) == pytest.approx(counted(task, model), rel=0.01)


def test_shapes_alone_tell_what_a_computed_example_costs() -> None:
    task, model = decoder(DecoderModel(hidden_size=64, num_hidden_layers=3, num_attention_heads=4), 64, 300)
    tokens = torch.randint(0, task.vocab_size, (1, task.length))
    blocks = task.blocks(model)

    def loss() -> torch.Tensor:
        return task.loss(model, {"input_ids": tokens, "labels": tokens})

    for attends in (torch_attention.as_one, contextlib.nullcontext):
        with attends():
            known = probe.measure_without_computing(loss, blocks)
            model.zero_grad(set_to_none=True)
            computed = probe.measure(loss, blocks)
            assert known is not None and known.flops == computed.flops
            assert known.kept_bytes == pytest.approx(computed.kept_bytes, rel=0.05)


def test_blocks_of_a_kind_are_looked_at_twice_and_each_counts() -> None:
    task, model = decoder(DecoderModel(hidden_size=64, num_hidden_layers=7, num_attention_heads=4), 64, 300)
    tokens = torch.randint(0, task.vocab_size, (1, task.length))
    blocks = task.blocks(model)
    blocks[2].requires_grad_(False)  # another kind
    called = []
    for number, block in enumerate(blocks):
        block.self_attn.register_forward_hook(lambda *_, number=number: called.append(number))

    def loss() -> torch.Tensor:
        return task.loss(model, {"input_ids": tokens, "labels": tokens})

    known = probe.measure_without_computing(loss, blocks)
    assert called == [0, 2, 0, 1, 2]
    computed = probe.measure(loss, blocks)
    assert known is not None and known.flops == computed.flops
    assert known.kept_bytes == pytest.approx(computed.kept_bytes, rel=0.05)
    assert not any("forward" in vars(block) for block in blocks)


def test_an_operation_that_needs_values_has_to_be_computed() -> None:
    weight = nn.Parameter(torch.ones(4))
    assert probe.measure_without_computing(lambda: weight[weight > 0].sum() * weight.sum().item(), []) is None
