"""Attention in pieces is attention."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from modelmill.models import attention


@pytest.mark.parametrize("length", [2, 63, 64, 200, 256, 700, 1100])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("key_heads", [2, 4])
def test_outputs_and_gradients_are_those_of_torch(length: int, masked: bool, key_heads: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 4, length, 8, requires_grad=True)
    key, value = (torch.randn(2, key_heads, length, 8, requires_grad=True) for _ in range(2))
    document = torch.arange(length) // 50
    mask = torch.ones(length, length, dtype=torch.bool).tril() & (document[:, None] == document)
    mask = mask.expand(2, 1, length, length)
    expected = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask if masked else None, is_causal=not masked, scale=0.3, enable_gqa=True
    ).transpose(1, 2)
    module = torch.nn.Identity()
    module.num_key_value_groups = 4 // key_heads  # type: ignore[assignment]
    found, _ = attention.attend(module, query, key, value, mask if masked else None, scaling=0.3)
    assert torch.allclose(found, expected, atol=1e-6)
    upstream = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(found, (query, key, value), upstream),
        torch.autograd.grad(expected, (query, key, value), upstream),
        strict=True,
    ):
        assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("terms", [{}, {"softcap": 2.0, "sliding_window": 30, "s_aux": torch.ones(2)}])
def test_gradients_are_those_of_the_weights_that_were_not_dropped(terms: dict[str, Any]) -> None:
    def attended(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return attention.attend(torch.nn.Identity(), *inputs, None, dropout=0.5, **terms)[0]

    torch.manual_seed(0)
    inputs = tuple(torch.randn(1, 2, 70, 4, requires_grad=True) for _ in range(3))
    found = torch.autograd.grad(attended(*inputs).square().sum(), inputs)
    direction = [torch.randn_like(tensor) for tensor in inputs]
    ahead, behind = (
        attended(*(t.detach() + step * d for t, d in zip(inputs, direction, strict=True))).double().square().sum()
        for step in (1e-3, -1e-3)
    )
    slope = sum((gradient * d).sum().item() for gradient, d in zip(found, direction, strict=True))
    assert slope == pytest.approx((ahead - behind).item() / 2e-3, rel=1e-2)


def test_a_model_with_it_generates_as_others_and_is_saved_without_its_name(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    torch.manual_seed(0)
    usual = LlamaForCausalLM._from_config(config, attn_implementation="sdpa").eval()
    usual.save_pretrained(tmp_path / "usual")
    ours = AutoModelForCausalLM.from_pretrained(
        tmp_path / "usual", attn_implementation=attention.implementation(torch.device("cpu"))
    )
    prompt = torch.randint(0, 64, (1, 70))
    settings = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 10, "do_sample": False}
    assert ours.config._attn_implementation == attention.NAME
    assert ours.generate(prompt, **settings).tolist() == usual.generate(prompt, **settings).tolist()
    ours.save_pretrained(tmp_path / "ours")
    assert attention.NAME not in json.dumps(json.loads((tmp_path / "ours" / "config.json").read_text()))
