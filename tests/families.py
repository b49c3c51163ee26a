"""A tiny model with random weights of each family of causal language models that transformers has."""

import inspect
from typing import Any

import torch

VOCABULARY = 64
LARGEST = 2_000_000
# Sizes by the names that configurations have for them. A pattern repeats in the blocks of a model; four show it.
_NAMES = {
    32: "hidden_size d_model n_embd embed_dim word_embed_proj_dim embedding_size dim emb_dim dim_model lru_width "
    "attention_hidden_size linear_d_inner gate_rank intermediate_size ffn_dim n_inner ffn_hidden_size dff dim_ff "
    "feed_forward_size decoder_ffn_dim encoder_ffn_dim moe_intermediate_size shared_expert_intermediate_size "
    "shared_intermediate_size intermediate_size_mlp mlp_dim mamba_d_ssm",
    4: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_decoder_layers "
    "num_encoder_layers num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads "
    "num_decoder_attention_heads num_encoder_attention_heads num_experts n_routed_experts num_local_experts "
    "moe_num_experts linear_num_value_heads",
    2: "num_key_value_heads num_kv_heads swa_num_key_value_heads num_experts_per_tok moe_k moe_topk "
    "num_experts_per_token linear_num_key_heads",
    1: "n_group topk_group n_shared_experts num_shared_experts",
    8: "head_dim global_head_dim swa_head_dim attention_head_dim dim_head d_kv kv_lora_rank q_lora_rank o_lora_rank "
    "qk_nope_head_dim v_head_dim qk_rope_head_dim mamba_d_state state_size ssm_state_size mamba_d_head mamba_head_dim "
    "mamba_n_heads linear_key_head_dim linear_value_head_dim mamba_headdim",
    16: "mamba_chunk_size chunk_size",
    160: "max_position_embeddings n_positions max_seq_len n_ctx",
    12: "sliding_window attention_window_size window_size attention_chunk_size",
}
SIZES = {name: size for size, names in _NAMES.items() for name in names.split()}
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id")
# What rules of names do not know.
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "gptj": {"rotary_dim": 4},
    "codegen": {"rotary_dim": 4},
    "dots3_note_text": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_n_heads": 4, "mamba_d_ssm": 32},
    "mamba2": {"num_heads": 8},
    "zaya": {"num_experts_per_tok": 1},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "gemma4_text": {"vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "laguna": {"layer_types": ["sliding_attention", "full_attention"] * 2},
    "xmod": {"default_language": "en_XX"},
    "reformer": {"axial_pos_embds": False},
}


# The families of the test; the table in docs/model-families.md has all.
TESTED = [
    "apertus",
    "bart",
    "bloom",
    "cohere",
    "cohere2",
    "codegen",
    "ctrl",
    "deepseek_v3",
    "diffllama",
    "exaone4",
    "falcon",
    "falcon_h1",
    "gemma",
    "gemma2",
    "gemma3_text",
    "glm4",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_neox",
    "gpt_oss",
    "gptj",
    "granite",
    "granitemoe",
    "helium",
    "jamba",
    "jetmoe",
    "lfm2",
    "llama",
    "llama4_text",
    "mamba2",
    "ministral",
    "mistral",
    "mixtral",
    "mpt",
    "nemotron",
    "olmo2",
    "olmo3",
    "olmoe",
    "opt",
    "persimmon",
    "phi",
    "phi3",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "recurrent_gemma",
    "smollm3",
    "stablelm",
    "starcoder2",
    "xglm",
]


def config_of(family: str) -> Any:
    """Return a tiny configuration of a family."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return _tiny(CONFIG_MAPPING[family], EXCEPTIONS.get(family, {}))


def all_families() -> list[str]:
    """Return the names of the families that transformers has."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def parameters_of(kind: Any) -> set[str]:
    """Return the names of the settings that a class of configurations has."""
    known = set(inspect.signature(kind.__init__).parameters) | set(getattr(kind, "__annotations__", {}))
    for parent in kind.__mro__:
        known |= set(vars(parent).get("__annotations__", {}))
    return known


def _tiny(kind: Any, more: dict[str, Any]) -> Any:
    known = parameters_of(kind)
    given = {name: size for name, size in SIZES.items() if name in known}
    given |= {"vocab_size": VOCABULARY} if "vocab_size" in known else {}
    given |= {name: 0 for name in SPECIAL if name in known}
    given |= {"is_decoder": True} if "is_decoder" in known else {}
    if "kv_lora_rank" in known:
        given["num_key_value_heads"] = given["num_attention_heads"]
    return kind(**given | more)


def model_of(family: str) -> Any:
    """Return a model of a family with weights so large that every part of it shows in its loss."""
    from transformers import AutoModelForCausalLM

    config = config_of(family)
    with torch.device("meta"):
        if (size := AutoModelForCausalLM.from_config(config).num_parameters()) > LARGEST:
            raise ValueError(f"its configuration cannot be made small by rules: {size:,} weights")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=1.5 * weight.shape[-1] ** -0.5)
            else:
                weight += 0.1 * torch.randn_like(weight)
    return model
