"""Weights to start from: a folder that `from_pretrained` reads, or a version in the MLflow registry."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from modelmill.core import digest as digests
from modelmill.core.errors import UserError
from modelmill.runtime import tracking
from modelmill.store import Store

# What a model folder is made of; anything else in it is not read.
CONFIG = "config.json"
# As in safetensors itself.
_LONGEST_HEADER = 100_000_000
WEIGHTS = "model.safetensors"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
CHAT_TEMPLATE = "chat_template.jinja"
# Files that only some tokenizers have.
ALSO_TOKENIZER = (CHAT_TEMPLATE, "special_tokens_map.json", "added_tokens.json")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def locate(key: str, source: str, store: Store) -> Path:
    """Return the folder with the weights that a recipe names; a registered version is downloaded first.

    Args:
        key: The recipe's key, for messages.
        source: A folder, or `models:/NAME/VERSION`.
        store: The run's store.

    Raises:
        UserError: There is no such folder or version, or it holds no whole safetensors weights.
    """
    where = f"{key}: {source}"
    is_registered = source.startswith("models:/")
    folder = _download(where, source, store) if is_registered else Path(source)  # type: ignore[arg-type]
    if folder.is_file() and folder.suffix in PICKLES:
        raise UserError(_pickle(where, folder.name))
    if not folder.is_dir():
        raise UserError(f"{where}: no such folder; name one that from_pretrained reads, or models:/NAME/VERSION")
    if not (folder / CONFIG).is_file():
        raise UserError(f"{where}: no {CONFIG} in it; is it a folder written by save_pretrained?")
    if not (folder / WEIGHTS).is_file():
        pickled = sorted(f.name for f in folder.iterdir() if f.suffix in PICKLES)
        if pickled:
            raise UserError(_pickle(where, pickled[0]))
        raise UserError(f"{where}: no weights in it; {WEIGHTS} is missing")
    if not _is_whole(folder / WEIGHTS):
        raise UserError(f"{where}: {WEIGHTS} is cut off or not safetensors; save or copy the model again")
    return folder


def _is_whole(file: Path) -> bool:
    """Return whether a file's tensors follow each other without a gap, to its end, as its safetensors header says."""
    try:
        length, tensors = _header(file)
        end = 0
        for begin, next_end in sorted(tensor["data_offsets"] for tensor in tensors.values()):
            if begin != end or next_end < begin:
                return False
            end = next_end
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
    return 8 + length + end == file.stat().st_size


def matrices(folder: Path) -> list[str]:
    """Return the names of a model's two-dimensional tensors."""
    return [name for name, tensor in _header(folder / WEIGHTS)[1].items() if len(tensor["shape"]) == 2]


def _header(file: Path) -> tuple[int, dict[str, Any]]:
    """Return the length and the content of a safetensors header: eight bytes of length, then JSON with offsets."""
    with open(file, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(file.stat().st_size - 8, _LONGEST_HEADER):
            raise ValueError("cut off")
        header = json.loads(opened.read(length))
    return length, {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def _pickle(where: str, name: str) -> str:
    advice = f"save the model again with safe_serialization=True to get {WEIGHTS}, and name its folder"
    return f"{where}: {name} is a pickle, which can run code when it is loaded; {advice}"


def digest(folder: Path) -> str:
    """Return the digest of the files that a model is loaded from, wherever the folder lies."""
    return _digest([folder / name for name in (CONFIG, WEIGHTS) if (folder / name).is_file()] + tokenizer_files(folder))


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the tokenizer's files in a folder; a chat template has a file of its own or is in the configuration."""
    return [folder / name for name in (*TOKENIZER, *ALSO_TOKENIZER) if (folder / name).is_file()]


def tokenizer_digest(folder: Path) -> str:
    """Return the digest of the tokenizer in a model folder.

    Raises:
        UserError: The folder has no `tokenizer.json`.
    """
    if not (folder / TOKENIZER[0]).is_file():
        raise UserError(f"preprocessing.tokenizer.from: {folder}: no {TOKENIZER[0]} in it")
    return _digest(tokenizer_files(folder))


def _digest(files: list[Path]) -> str:
    return digests.of_json([[file.name, digests.of_file(file)] for file in files])


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration in a model folder.

    Raises:
        UserError: `config.json` is not a JSON object.
    """
    return read_json("pretraining.init", folder / CONFIG)


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


@functools.cache
def _download(where: str, uri: str, store: Store) -> Path:
    """Return the model folder of a registered version, downloaded to a place that lives as long as the process.

    A version does not change, so a process downloads it once.
    """
    target = Path(tempfile.mkdtemp(prefix="modelmill-init-"))
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    downloaded = tracking.download_version(store, uri, target)
    folders = sorted(f.parent for f in downloaded.rglob(WEIGHTS))
    if not folders:
        raise UserError(f"{where}: the version holds no {WEIGHTS}")
    return folders[0]
