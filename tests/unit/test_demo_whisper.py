"""Whisper as a demo model: a file of CTranslate2 gives the weights that it was made of."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoTokenizer, WhisperForConditionalGeneration

from modelmill.core.errors import UserError
from modelmill.demo import whisper
from tests.pretrained import speech

_TYPES = {np.dtype(np.float16): 4, np.dtype(np.int16): 2, np.dtype(np.int8): 1}


def ctranslate2(arrays: dict[str, np.ndarray], kind: str = "WhisperSpec", version: int = 6) -> bytes:
    """A file as CTranslate2's converter writes it."""
    said = struct.pack("<I", version) + _text(kind) + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        said += _text(name) + shape + struct.pack("<BI", _TYPES[array.dtype], array.nbytes) + array.tobytes()
    return said + struct.pack("<I", 0)


def _text(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def as_ctranslate2(model: Any) -> dict[str, np.ndarray]:
    """The weights of a Whisper by CTranslate2's names, written from its sources and not from ours."""
    state = {name: tensor.half().numpy() for name, tensor in model.state_dict().items()}
    made = {"decoder/embeddings/weight": state["model.decoder.embed_tokens.weight"]}
    for side in ("encoder", "decoder"):
        made[f"{side}/num_heads"] = np.array(2, np.int16)
        made[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
        made |= _norm(state, f"model.{side}.layer_norm", f"{side}/layer_norm")
        for layer in range(2):
            mine, theirs = f"model.{side}.layers.{layer}", f"{side}/layer_{layer}"
            made |= _norm(state, f"{mine}.final_layer_norm", f"{theirs}/ffn/layer_norm")
            for number in (0, 1):
                for part in ("weight", "bias"):
                    made[f"{theirs}/ffn/linear_{number}/{part}"] = state[f"{mine}.fc{number + 1}.{part}"]
            made |= _attention(state, f"{mine}.self_attn", f"{theirs}/self_attention", [["q", "k", "v"], ["out"]])
            if side == "decoder":
                fused = [["q"], ["k", "v"], ["out"]]
                made |= _attention(state, f"{mine}.encoder_attn", f"{theirs}/attention", fused)
    for number in (1, 2):
        for part in ("weight", "bias"):
            made[f"encoder/conv{number}/{part}"] = state[f"model.encoder.conv{number}.{part}"]
    return made


def _norm(state: dict[str, np.ndarray], mine: str, theirs: str) -> dict[str, np.ndarray]:
    return {f"{theirs}/gamma": state[f"{mine}.weight"], f"{theirs}/beta": state[f"{mine}.bias"]}


def _attention(state: dict[str, np.ndarray], mine: str, theirs: str, fused: list[list[str]]) -> dict[str, np.ndarray]:
    made = _norm(state, f"{mine}_layer_norm", f"{theirs}/layer_norm")
    width = len(state[f"{mine}.q_proj.bias"])
    for number, parts in enumerate(fused):
        biases = [state.get(f"{mine}.{part}_proj.bias", np.zeros(width, np.float16)) for part in parts]
        made[f"{theirs}/linear_{number}/weight"] = np.concatenate([state[f"{mine}.{p}_proj.weight"] for p in parts])
        made[f"{theirs}/linear_{number}/bias"] = np.concatenate(biases)
    return made


def test_a_file_of_ctranslate2_is_the_whisper_that_it_was_made_of(tmp_path: Path) -> None:
    folder = speech.write("whisper", tmp_path / "whisper")
    model = WhisperForConditionalGeneration.from_pretrained(folder)
    (tmp_path / "model.bin").write_bytes(ctranslate2(as_ctranslate2(model)))
    made = tmp_path / "made"
    made.mkdir()
    said = {"suppress_ids": [1, 2], "suppress_ids_begin": [3]}
    whisper.convert(tmp_path / "model.bin", said, folder / "tokenizer.json", made)
    again = WhisperForConditionalGeneration.from_pretrained(made)
    assert again.dtype == torch.float16
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.half()), name
    assert again.generation_config.suppress_tokens == [1, 2] and not again.generation_config.is_multilingual
    tokenizer, extractor = AutoTokenizer.from_pretrained(made), AutoFeatureExtractor.from_pretrained(made)
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(folder).get_vocab()
    assert extractor.feature_size == 16 and json.loads((made / "config.json").read_text())["model_type"] == "whisper"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ctranslate2({}, kind="TransformerSpec"),
            "it is a TransformerSpec in version 6, not a WhisperSpec in version 6",
        ),
        (ctranslate2({"a": np.zeros(4, np.float16)})[:-20], "it is not a file of CTranslate2"),
        (b"", "it is not a file of CTranslate2"),
    ],
)
def test_a_file_of_another_kind_is_one_line(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dict(whisper.tensors(content))
