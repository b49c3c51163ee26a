"""Adapters on many architectures, and the number formats of what they are added to and saved in."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from modelmill.components.fine_tuning import lora, targets
from modelmill.components.fine_tuning.finishing import Finishing
from modelmill.components.fine_tuning.lora import Adapters
from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.models import joining
from modelmill.recipe.adapters import LINEAR, AdaptedFineTuning, Lora
from modelmill.store import Store
from modelmill.training.device import formats
from modelmill.training.device.determinism import seed_everything
from modelmill.training.loop import engine
from modelmill.training.loop.checkpoint import Checkpoints
from tests.component.steps import Steps
from tests.recipes import language_recipe, write_corpus

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
GPT2 = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
EXPERTS = {"num_key_value_heads": 1, "num_local_experts": 4}
ATTENTION = "k_proj o_proj q_proj v_proj"
FUSED = ["experts.down_proj", "experts.gate_up_proj"]
# Configuration, the linear modules that get adapters, and whether experts do.
FAMILIES: dict[str, tuple[str, dict[str, Any], str, bool]] = {
    "llama": ("LlamaConfig", SIZES, f"down_proj gate_proj {ATTENTION} up_proj", False),
    "gpt2": ("GPT2Config", GPT2, "c_attn c_fc c_proj", False),
    "phi3": ("Phi3Config", SIZES | {"pad_token_id": 0}, "down_proj gate_up_proj o_proj qkv_proj", False),
    "gpt_neox": ("GPTNeoXConfig", SIZES, "dense dense_4h_to_h dense_h_to_4h query_key_value", False),
    "opt": (
        "OPTConfig",
        SIZES | {"ffn_dim": 32, "word_embed_proj_dim": 8, "pad_token_id": 0},
        "fc1 fc2 k_proj out_proj q_proj v_proj",
        False,
    ),
    "mixtral": ("MixtralConfig", SIZES | EXPERTS, ATTENTION, True),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        SIZES | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "num_key_value_heads": 2},
        ATTENTION,
        True,
    ),
    "gpt_oss": ("GptOssConfig", SIZES | EXPERTS | {"head_dim": 8}, ATTENTION, True),
}
IDS = torch.arange(48).reshape(3, 16) % 64


class Tokens:
    """The task of predicting the tokens of `IDS`."""

    mixed_precision = True
    unit = "tokens"
    input, axes = "input_ids", ("batch", "length")
    lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(IDS)

    def examples(self, stage: str, split: str) -> "Tokens":
        return self

    def whole(self, model: Any) -> list[str]:
        return []

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        return {"input_ids": IDS[indices]}

    def describe(self, indices: np.ndarray) -> str:
        return str(indices)

    def blocks(self, model: Any) -> list[torch.nn.Module]:
        return []

    compilable = blocks

    def terms(self, batch: dict[str, torch.Tensor]) -> int:
        return batch["input_ids"].numel()

    def loss(self, model: Any, batch: dict[str, torch.Tensor], smoothing: float = 0.0) -> torch.Tensor:
        ids = batch["input_ids"]
        loss: torch.Tensor = model(input_ids=ids, labels=ids, use_cache=False).loss
        return loss * ids.numel()

    def logits(self, model: Any, values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=values, use_cache=False).logits
        return logits


TASK: Any = Tokens()


def model_of(family: str) -> Any:
    """A model with random weights in bf16."""
    seed_everything(0)
    kind, settings, *_ = FAMILIES[family]
    model = AutoModelForCausalLM.from_config(getattr(transformers, kind)(**settings))
    return joining.rounded(model, torch.bfloat16)


def settings_of(method: str = "lora", **changes: Any) -> AdaptedFineTuning:
    return AdaptedFineTuning(
        steps=4,
        batch_size=3,
        learning_rate=0.05,
        evaluate_every=2,
        method=method,  # type: ignore[arg-type]
        lora=Lora(rank=2, **changes),
        precision="bf16",
        checkpoint_seconds=0,
    )


def train(model: Any, settings: AdaptedFineTuning, store: Store, scratch: Path, stop_after: int | None = None) -> None:
    """Train in place; `stop_after` ends the process of training, in the test's eyes, after so many steps."""

    def progress(done: float, *_: object) -> None:
        if done == stop_after:
            raise KeyboardInterrupt

    scratch.mkdir(exist_ok=True)
    engine.train(model, TASK, TASK, TASK, settings, 0, Checkpoints(store, "key", scratch), progress)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_linear_layers_of_a_family_learn_and_merge_in_the_format_that_they_came_in(
    family: str, store: Store, tmp_path: Path
) -> None:
    model, settings = model_of(family), settings_of()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    finishing = Finishing(TASK, model, settings, tmp_path, torch.bfloat16)
    assert isinstance(finishing.adapters, Adapters)
    config = finishing.adapters.wrapped.peft_config["default"]
    *_, modules, has_experts = FAMILIES[family]
    assert sorted(config.target_modules) == sorted(modules.split())
    assert sorted(config.target_parameters or []) == (FUSED if has_experts else [])
    adapters = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    assert {p.dtype for p in adapters.values()} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}

    train(model, settings, store, tmp_path / "scratch")
    learned = dict(model.named_parameters())
    assert [name for name, weight in adapters.items() if torch.equal(weight, learned[name])] == []
    merged: Any = finishing.finish(model, tmp_path)
    merged.save_pretrained(tmp_path / "model")
    assert formats.came_in(tmp_path / "model") == torch.bfloat16
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "model").state_dict()
    assert {weight.dtype for weight in again.values()} == {torch.bfloat16}
    moved = {name for name, weight in again.items() if not torch.equal(weight, before[name])}
    assert len(moved) == sum(".lora_A." in name for name in adapters)
    assert all(".layers." in name or ".h." in name for name in moved)

    base = model_of(family).float()
    joined = PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload(safe_merge=True)
    for name, weight in joined.state_dict().items():
        assert torch.equal(weight.bfloat16(), again[name]), name


def test_all_linear_is_what_was_named_before_for_llama() -> None:
    chosen = targets.choose(model_of("llama"), settings_of())
    assert chosen == targets.choose(model_of("llama"), settings_of(target_modules=LINEAR))
    assert chosen.modules == sorted(LINEAR)


def test_rank_stabilised_adapters_weigh_more() -> None:
    weights = [
        lora.add_adapters(model_of("llama"), settings_of(rank_stabilised=chosen)).wrapped.get_submodule(
            "base_model.model.model.layers.0.mlp.down_proj"
        )
        for chosen in (False, True)
    ]
    assert [module.scaling["default"] for module in weights] == [16 / 2, pytest.approx(16 / 2**0.5)]


def test_experts_that_peft_cannot_adapt_are_left_out_aloud_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "modelmill"):
        assert targets.choose(model_of("mixtral"), settings_of(dropout=0.1)).parameters == []
    assert "experts (down_proj, gate_up_proj) can have no adapters with lora.dropout" in caplog.text
    with pytest.raises(UserError, match=r"experts \(gate_up_proj\) can have no adapters with method: dora"):
        targets.choose(model_of("mixtral"), settings_of("dora", target_modules=["q_proj", "gate_up_proj"]))


def test_linear_layers_with_names_that_peft_takes_for_experts_are_left_out_aloud(
    caplog: pytest.LogCaptureFixture,
) -> None:
    experts = {"n_routed_experts": 4, "moe_intermediate_size": 8, "first_k_dense_replace": 1, "n_group": 1}
    config = transformers.DeepseekV3Config(**SIZES, **experts, num_experts_per_tok=2, topk_group=1)
    model = AutoModelForCausalLM.from_config(config)
    with caplog.at_level(logging.WARNING, "modelmill"):
        lora.add_adapters(model, settings_of())
    assert "down_proj, gate_proj, up_proj outside of the experts can have no adapters" in caplog.text
    adapted = {name for name, p in model.named_parameters() if p.requires_grad}
    assert not [name for name in adapted if "shared_experts." in name]
    assert [name for name in adapted if ".experts." in name]


@pytest.mark.parametrize("family", ["llama", "gpt_oss"])
def test_a_training_over_frozen_bf16_weights_cut_in_two_ends_with_the_same_bits(
    family: str, store: Store, tmp_path: Path
) -> None:
    ends = []
    for cut in (None, 2):
        model, settings = model_of(family), settings_of()
        lora.add_adapters(model, settings)
        scratch = tmp_path / str(cut)
        if cut:
            with pytest.raises(KeyboardInterrupt):
                train(model, settings, store, scratch, stop_after=cut)
            model = model_of(family)
            lora.add_adapters(model, settings)
            assert Checkpoints(store, "key", scratch).newest_step() == cut - 1
        train(model, settings, store, scratch)
        for key in list(store.list("checkpoints/")):
            store.delete(key)
        ends.append(model.state_dict())
    assert [name for name, weight in ends[0].items() if not torch.equal(weight, ends[1][name])] == []


def test_frozen_weights_stay_in_their_format_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for has, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(formats, "has_bf16", lambda device, has=has: has)
        assert formats.in_memory(torch.bfloat16, cpu) == expected
        assert formats.in_memory(torch.float16, cpu) == torch.float32
    monkeypatch.setattr(formats, "has_bf16", lambda device: True)
    assert formats.in_memory(torch.float16, gpu) == torch.float16


def test_rounding_leaves_what_transformers_keeps_in_fp32() -> None:
    plan = {"gate": torch.float32}
    inner = torch.nn.ModuleDict({"gate": torch.nn.Linear(2, 2), "gates": torch.nn.Linear(2, 2)})
    inner._get_dtype_plan = lambda dtype: plan  # type: ignore[assignment]
    joining.rounded(inner, torch.bfloat16)
    assert (inner["gate"].weight.dtype, inner["gates"].weight.dtype) == (torch.float32, torch.bfloat16)


class Given:
    """A corpus, and weights in bf16 for it, in a file that `save_pretrained` would write otherwise."""

    def __init__(self, folder: Path) -> None:
        self.recipe = language_recipe(folder, write_corpus(folder / "data", files=40))
        self.first = Steps(self.recipe, folder / "first")
        self.corpus = self.first.corpus()
        self.folder = folder / "given"
        config = LlamaConfig(**SIZES | {"vocab_size": self.corpus.info["vocab_size"], "num_hidden_layers": 1})
        model: Any = joining.rounded(AutoModelForCausalLM.from_config(config), torch.bfloat16)
        model.save_pretrained(self.folder)
        self.weights = self.folder / "model.safetensors"
        save_file(load_file(self.weights), self.weights, {"format": "pt", "from": "elsewhere"})

    def steps(self, folder: Path, *overrides: str) -> Steps:
        steps = Steps(self.recipe, folder, f"pretraining.init={self.folder}", *overrides)
        steps.store = self.first.store
        return steps


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("given"))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_came_in_as_bf16_goes_out_as_bf16(given: Given, method: str, tmp_path: Path) -> None:
    steps = given.steps(tmp_path / "steps", "pretraining.steps=1", f"fine_tuning.method={method}")
    pretrained = steps.pretrained(given.corpus)
    tuned = steps.tuned(given.corpus, pretrained)
    for made in (pretrained, tuned):
        folder = steps.folder_of(made, "model")
        assert formats.came_in(folder) == torch.bfloat16
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert (model.dtype, model.config.dtype) == (torch.bfloat16, torch.bfloat16)
    assert tuned.info["trained"]


def test_files_that_no_step_trains_are_handed_on_as_they_are(given: Given, tmp_path: Path) -> None:
    steps = given.steps(tmp_path / "steps", "pretraining.steps=0", "fine_tuning.method=full", "fine_tuning.steps=0")
    pretrained = steps.pretrained(given.corpus)
    tuned = steps.tuned(given.corpus, pretrained)
    for made in (pretrained, tuned):
        assert made.entry("model/model.safetensors").sha256 == digest.of_file(given.weights)
        assert made.entry("model/config.json").sha256 == digest.of_file(given.folder / "config.json")
    loaded = AutoModelForCausalLM.from_pretrained(steps.folder_of(tuned, "model"))
    assert torch.equal(loaded.lm_head.weight, load_file(given.weights)["lm_head.weight"])
    assert (steps.folder_of(tuned, "model") / "tokenizer.json").is_file()
