"""Ways of feeding a causal language model, and the proof that one is right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertLMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
)

from modelmill.core.errors import ModelmillError, UserError
from modelmill.models import attention
from modelmill.models.cross_entropy import IGNORED
from modelmill.runtime.compatibility import require_length
from modelmill.tasks.language_modeling import checkpoint, proof, rows, ways
from modelmill.tasks.language_modeling.specimen import Specimen
from modelmill.tasks.language_modeling.ways import Way
from modelmill.tasks.pretrained import saved
from modelmill.training.device import formats
from tests.packed import language_task

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SMALL)).eval()


def test_rows_hold_each_learned_token_once_and_put_it_back(tmp_path: Path) -> None:
    task = language_task(tmp_path, [list(range(1, 8)), [8], list(range(9, 49)), [50, 51]], length=24)
    batch = task.examples("pretraining", "train").batch(np.arange(3))
    batch["labels"][0, :8] = IGNORED
    for padded in (True, False):
        split = rows.split(batch, padded=padded)
        tokens = torch.cat([batch["input_ids"].flatten()[places].flatten() for places in split.places])
        counts = batch["labels"].flatten() != IGNORED
        assert torch.equal(tokens[split.back][counts], batch["input_ids"].flatten()[counts])
        lengths = [places.shape[1] for places in split.places]
        assert lengths == ([16, 24] if padded else sorted(set(lengths)))
        # The first document, of which nothing is learned, has no row; nor has the last window's padding.
        assert sum(map(len, split.places)) == 5


def test_rows_without_labels_are_one_row_at_least() -> None:
    batch = {"input_ids": torch.zeros(2, 8, dtype=torch.int64), "labels": torch.full((2, 8), IGNORED)}
    assert [places.shape for places in rows.split(batch, padded=True).places] == [(1, 8)]


@pytest.mark.parametrize("feeding", ["padded", "alone"])
def test_rows_have_the_loss_and_the_gradients_of_packed_windows(tmp_path: Path, feeding: Any) -> None:
    task = language_task(tmp_path, [list(range(1, 8)), [8], list(range(9, 49)), [50, 51]], length=24)
    batch = task.examples("pretraining", "train").batch(np.arange(3))
    model = task.build()
    outcomes = []
    for way in (ways.PACKED, Way(feeding, ways.OWN, "none")):
        task.way = way
        model.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        outcomes.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for packed, other in zip(*outcomes, strict=True):
        assert torch.allclose(packed, other, atol=1e-5, rtol=1e-4)


def test_a_copy_has_one_block_of_each_kind_and_leaves_the_model_whole() -> None:
    model = llama()
    model.model.layers[2].self_attn.sliding_window = 100
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    specimen = Specimen(model, 64, 32, 32, CPU, is_whole=False)
    assert len(specimen.blocks) == 3
    specimen.stir()
    assert len(model.model.layers) == 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_window_longer_than_the_sample_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that acts at the length of training alone would show in no sample; here ours loses it."""
    model = MistralForCausalLM(MistralConfig(**SMALL, sliding_window=200)).eval()
    assert proof.prove(model, 64, 256, "x", CPU).way == ways.PACKED
    right = attention.attend
    monkeypatch.setattr(attention, "attend", lambda *given, **named: right(*given, **named | {"sliding_window": None}))
    assert proof.prove(model, 64, 128, "x", CPU).way == ways.PACKED, "windows of 128 tokens never reach it"
    assert proof.prove(model, 64, 256, "x", CPU).way != ways.PACKED
    monkeypatch.undo()
    attention.implementation(CPU)


def test_an_attention_that_sees_other_documents_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    right = attention.attend

    def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **others: Any) -> Any:
        return right(module, query, key, value, None, **others)

    assert proof.prove(llama(), 64, 32, "x", CPU).way.attention == ways.OWN
    monkeypatch.setattr(attention, "attend", attend)
    proved = proof.prove(llama(), 64, 32, "x", CPU)
    assert proved.way.feeding == "packed" and proved.way.attention == ways.SDPA
    assert "losses" in proved.tried[ways.PACKED.words]
    attention.implementation(CPU)
    monkeypatch.undo()
    attention.implementation(CPU)


def test_a_head_with_more_than_a_matrix_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    assert proof.prove(model, 64, 32, "x", CPU).way.plain_head
    forward = type(model).forward

    def capped(self: Any, *args: Any, **named: Any) -> Any:
        output = forward(self, *args, **named)
        output.logits = 3 * torch.tanh(output.logits / 3)
        return output

    monkeypatch.setattr(type(model), "forward", capped)
    assert not proof.prove(model, 64, 32, "x", CPU).way.plain_head


def test_a_model_that_sees_later_tokens_is_refused_by_its_first_such_block() -> None:
    config = {name: value for name, value in SMALL.items() if name != "num_key_value_heads"}
    model = BertLMHeadModel(BertConfig(**config, max_position_embeddings=64)).eval()
    with pytest.raises(UserError, match=r"^here: BertLMHeadModel is not a causal .* in block 0 \(BertLayer\)"):
        proof.prove(model, 64, 32, "here", CPU)


def test_positions_that_a_configuration_counts_otherwise_are_tried() -> None:
    """RoBERTa's positions begin after its padding, so it has fewer than it says."""
    config = {name: value for name, value in SMALL.items() if name != "num_key_value_heads"}
    model = RobertaForCausalLM(RobertaConfig(**config, is_decoder=True, max_position_embeddings=128)).eval()
    assert proof.prove(model, 64, 120, "here", CPU).way.feeding == "padded"
    with pytest.raises(UserError, match=r"^here: RobertaForCausalLM has no positions for 128 tokens: "):
        proof.prove(model, 64, 128, "here", CPU)


def test_a_checkpoint_without_a_weight_is_refused(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"needs weights that are not in it: model\.layers\.1\.mlp\.up_proj\.weight"):
        checkpoint.load(tmp_path, CPU)


def test_a_weight_that_the_model_does_not_read_is_named(tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({**load_file(file), "vision.patch.weight": torch.zeros(3)}, file, {"format": "pt"})
    assert checkpoint.load(tmp_path, CPU)[1] == ["vision.patch.weight"]


@pytest.mark.parametrize(("dtype", "loaded"), [("bfloat16", None), ("float16", "float32"), ("float32", "float32")])
def test_a_checkpoint_is_loaded_in_its_own_format_where_the_device_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, loaded: str | None
) -> None:
    llama().to(getattr(torch, dtype)).save_pretrained(tmp_path)
    for has_it in (True, False):
        monkeypatch.setattr(formats, "has_bf16", lambda device, has_it=has_it: has_it)
        expected = loaded or ("bfloat16" if has_it else "float32")
        assert checkpoint.load(tmp_path, CPU)[0].dtype == getattr(torch, expected)


@pytest.mark.parametrize("most", [0, saved.RELOADED])
def test_what_was_saved_is_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(saved, "RELOADED", most)
    model = llama()
    model.save_pretrained(tmp_path)
    checkpoint.require_saved(model, tmp_path)
    with torch.no_grad():
        model.model.norm.weight += 1
    with pytest.raises(ModelmillError, match=r"saving and loading again changes model\.norm\.weight"):
        checkpoint.require_saved(model, tmp_path)


@pytest.mark.parametrize("name", ["n_positions", "max_position_embeddings", "max_seq_len"])
def test_a_window_longer_than_the_positions_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(f'{{"{name}": 32}}')
    require_length(tmp_path, 32)
    with pytest.raises(UserError, match="it was made for 32 positions"):
        require_length(tmp_path, 33)
