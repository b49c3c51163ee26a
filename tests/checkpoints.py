"""Tiny checkpoints as hubs lay them out, made without torch."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from tokenizers import Tokenizer, models, pre_tokenizers

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"
CARD = b"---\nlicense: apache-2.0\n---\n# A tiny model\n"


def tokenizer(*tokens: str) -> bytes:
    """A tokenizer.json of words."""
    made = Tokenizer(models.WordLevel({token: number for number, token in enumerate(tokens)}, unk_token=tokens[0]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made.to_str().encode()


def sharded(**config: object) -> dict[str, bytes]:
    """Files of a Llama in two shards, by name."""
    held = [
        {"a.weight": np.ones((2, 3), np.float16)},
        {"b.weight": np.zeros((4, 4), np.float16), "c": np.ones(2, np.float32)},
    ]
    index = {name: shard for shard, tensors in zip(SHARDS, held, strict=True) for name in tensors}
    described = {"model_type": "llama", "vocab_size": 4, "max_position_embeddings": 64, **config}
    return {
        "config.json": json.dumps(described).encode(),
        "generation_config.json": b"{}",
        "tokenizer.json": tokenizer("<s>", "a", "b", "</s>"),
        "tokenizer_config.json": json.dumps({"bos_token": "<s>", "eos_token": "</s>"}).encode(),
        "README.md": CARD,
        INDEX: json.dumps({"metadata": {}, "weight_map": index}).encode(),
        **{shard: save(tensors) for shard, tensors in zip(SHARDS, held, strict=True)},
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder, which is made, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
