"""Names of the files that a model folder is made of; nothing else in it is read or fetched."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from modelmill.core.errors import UserError

CONFIG, GENERATION = "config.json", "generation_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
CHAT_TEMPLATE = "chat_template.jinja"
SPECIAL_TOKENS, ADDED_TOKENS = "special_tokens_map.json", "added_tokens.json"
CARD = "README.md"
# Of tokenizers that have no tokenizer.json; `transformers` makes one of them.
VOCABULARIES = (
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
# Of tokenizers with a vocabulary for each language, and the tokenizers that are made of them.
PAIRED_MODELS = ("source.spm", "target.spm")
PAIRED_VOCABULARY = "vocab.json"
PAIRED_TOKENIZERS = ("source_tokenizer.json", "target_tokenizer.json")
# What prepares images and sounds, and texts that are measured (Whisper's spellings).
PROCESSORS = ("preprocessor_config.json", "processor_config.json", "normalizer.json")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
ADAPTER = "adapter_config.json"

_TOKENIZER_FILES = {
    *(*TOKENIZER, CHAT_TEMPLATE, SPECIAL_TOKENS, ADDED_TOKENS),
    *(*VOCABULARIES, *PAIRED_MODELS, *PAIRED_TOKENIZERS),
}
# What a network and its inputs are made from, beside the weights.
_PREPARING = {CONFIG, GENERATION, *PROCESSORS, *_TOKENIZER_FILES}
_DESCRIBING = {CARD, ADAPTER, *_PREPARING}
_LICENCE = re.compile(r"(LICEN[CS]E|NOTICE)(\.(txt|md))?", re.IGNORECASE)
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
# No separator and no leading dot: a name leads to a file of the folder and nowhere else.
_SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.safetensors")


def is_describing(name: str) -> bool:
    """Return whether a file describes a model: configuration, tokenizer, card or licence."""
    return name in _DESCRIBING or is_licence(name)


def is_licence(name: str) -> bool:
    """Return whether a file holds the terms of a licence."""
    return bool(_LICENCE.fullmatch(name))


def is_of_tokenizer(name: str) -> bool:
    """Return whether a file is part of a tokenizer."""
    return name in _TOKENIZER_FILES


def prepares_inputs(name: str) -> bool:
    """Return whether a file says what a network is or prepares its inputs: configuration, tokenizer or processor."""
    return name in _PREPARING


def is_shard(name: str) -> bool:
    """Return whether a file is a shard of a checkpoint, as `save_pretrained` names them."""
    return bool(_SHARD.fullmatch(name))


def without_weights(where: str, names: Iterable[str]) -> UserError:
    """Return the error of a folder that has no safetensors weights.

    Args:
        where: Key and source, for the message.
        names: Files of the folder.
    """
    listed = sorted(names)
    if ADAPTER in listed:
        return UserError(f"{where}: it holds adapters ({ADAPTER}), not a model; name the model that they were made for")
    if pickled := [name for name in listed if name.endswith(PICKLES)]:
        return pickle(where, pickled[0])
    return UserError(f"{where}: no weights in it; {WEIGHTS} is missing, and so is {INDEX}")


def pickle(where: str, name: str) -> UserError:
    """Return the error of weights that are a pickle.

    Args:
        where: Key and source, for the message.
        name: The file.
    """
    advice = f"save the model again with safe_serialization=True to get {WEIGHTS}, and name its folder"
    return UserError(f"{where}: {name} is a pickle, which can run code when it is loaded; {advice}")


def weight_map(where: str, index: Path) -> dict[str, str]:
    """Return the shard of each tensor, as the index of a sharded checkpoint names them.

    Args:
        where: Key and source, for messages.
        index: The file `model.safetensors.index.json`.

    Raises:
        UserError: It is no such index, or names something that is not a file of its folder.
    """
    content = read_json(where, index).get("weight_map")
    if not isinstance(content, dict) or not content:
        raise UserError(
            f"{where}: {INDEX} has no weight_map, so the shards are not known; save or copy the model again"
        )
    for shard in content.values():
        if not isinstance(shard, str) or not _SHARD_NAME.fullmatch(shard):
            raise UserError(f"{where}: {INDEX} names {str(shard)[:100]!r}, which is no safetensors file of its folder")
    return content


def read_json(key: str, file: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Args:
        key: The recipe's key, for messages.
        file: The file.

    Raises:
        UserError: The file is not a JSON object.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{key}: {file}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{key}: {file}: not a JSON object")
    return content
