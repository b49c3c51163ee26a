"""Architectures with windows, caps and sinks compute with our attention what they do with their own."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Cohere2Config,
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    MistralConfig,
    Olmo3Config,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
)

from modelmill.models import attention

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "sliding_window": 5,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LAYERS: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention"]}
CONFIGS: dict[str, PreTrainedConfig] = {
    "mistral": MistralConfig(**SIZES),
    "gemma2": Gemma2Config(**SIZES, **LAYERS, attn_logit_softcapping=1.5, query_pre_attn_scalar=8),
    "gemma3": Gemma3TextConfig(**SIZES, **LAYERS, query_pre_attn_scalar=8),
    "gpt_oss": GptOssConfig(**SIZES, **LAYERS, num_local_experts=2, num_experts_per_tok=2),
    "phi3": Phi3Config(**SIZES),
    "qwen2": Qwen2Config(**SIZES, **LAYERS, use_sliding_window=True),
    "olmo3": Olmo3Config(**SIZES, **LAYERS),
    "cohere2": Cohere2Config(**SIZES, **LAYERS),
}
DOCUMENTS = (9, 1, 70, 16)
EAGER = "eager"


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest) -> Any:
    """A tiny model whose scores are large enough for caps and sinks to matter."""
    torch.manual_seed(0)
    made: Any = AutoModelForCausalLM.from_config(CONFIGS[request.param], attn_implementation=EAGER)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.ndim > 1 or "sinks" in name:
                weight.normal_(std=1 if "sinks" in name else 0.3)
    return made.eval()


def test_one_document_gives_logits_and_gradients_of_eager_attention(model: Any) -> None:
    tokens = torch.arange(90)[None] * 7 % 64
    theirs = results(model, [(tokens, {})])
    model.set_attn_implementation(attention.implementation(torch.device("cpu")))
    for arguments in ({}, {"attention_mask": torch.ones(90, 90, dtype=torch.bool).tril()[None, None]}):
        assert_same(results(model, [(tokens, arguments)]), theirs)


def test_packed_documents_give_logits_and_gradients_of_each_alone(model: Any) -> None:
    tokens = torch.arange(sum(DOCUMENTS))[None] * 7 % 64
    theirs = results(model, [(part, {}) for part in tokens.split(DOCUMENTS, 1)])
    document = torch.repeat_interleave(torch.arange(len(DOCUMENTS)), torch.tensor(DOCUMENTS))
    packed = {
        "attention_mask": (document[:, None] == document).tril()[None, None],
        "position_ids": torch.cat([torch.arange(length) for length in DOCUMENTS])[None],
    }
    model.set_attn_implementation(attention.implementation(torch.device("cpu")))
    assert_same(results(model, [(tokens, packed)]), theirs)


@pytest.mark.parametrize("model", ["gemma2", "gpt_oss"], indirect=True)
def test_a_layer_is_one_graph_to_the_compiler(model: Any) -> None:
    tokens = torch.arange(20)[None] * 7 % 64
    theirs = results(model, [(tokens, {})])
    model.set_attn_implementation(attention.implementation(torch.device("cpu")))
    layer = model.model.layers[0].self_attn
    # The generation of machine code, which takes a minute, is left out.
    layer.forward = torch.compile(layer.forward, dynamic=False, fullgraph=True, backend="aot_eager")
    assert_same(results(model, [(tokens, {})]), theirs)


@pytest.mark.parametrize("model", ["mistral", "gemma2", "gpt_oss"], indirect=True)
def test_prompts_of_several_lengths_are_continued_as_with_eager_attention(model: Any) -> None:
    prompts = torch.arange(24).view(2, 12) * 7 % 61 + 3
    mask = torch.ones_like(prompts)
    mask[0, :4] = 0
    settings = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False}
    theirs = model.generate(prompts, **settings)
    model.set_attn_implementation(attention.implementation(torch.device("cpu")))
    assert model.generate(prompts, **settings).tolist() == theirs.tolist()


def results(model: Any, calls: list[tuple[torch.Tensor, dict[str, Any]]]) -> list[torch.Tensor]:
    """The logits of all calls, and the gradients of a sum over them."""
    model.zero_grad()
    logits = torch.cat([model(input_ids=tokens, use_cache=False, **more).logits for tokens, more in calls], 1)
    logits.backward(torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)) / 50)
    return [logits.detach(), *(weight.grad.clone() for weight in model.parameters() if weight.grad is not None)]


def assert_same(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5 * max(1.0, other.abs().max().item()))
