"""Models to start from and tokenizers to take: where they are, that they are whole, and what their digest is.

A source is a folder, `s3://BUCKET/PREFIX`, `hf://ORG/NAME@REVISION`, or a version in the MLflow registry.
"""

import functools
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelmill.core import digest as digests
from modelmill.core.errors import UserError
from modelmill.recipe import sections
from modelmill.runtime.sources import (
    architecture,
    bucket,
    checkpoint,
    file_digests,
    hub,
    layout,
    origin,
    registered,
    timm,
    timm_backbones,
)
from modelmill.runtime.sources import tokenizer as tokenizers
from modelmill.runtime.sources.checkpoint import dtype_of, matrices, tensors, weight_files
from modelmill.runtime.sources.headers import Tensor
from modelmill.runtime.sources.layout import (
    CHAT_TEMPLATE,
    CONFIG,
    GENERATION,
    INDEX,
    PICKLES,
    PROCESSORS,
    SPECIAL_TOKENS,
    TOKENIZER,
    WEIGHTS,
    read_json,
)
from modelmill.store import Store

__all__ = [
    "CHAT_TEMPLATE",
    "CONFIG",
    "INDEX",
    "PICKLES",
    "PROCESSORS",
    "SPECIAL_TOKENS",
    "TOKENIZER",
    "TOKENIZER_KEY",
    "WEIGHTS",
    "Tensor",
    "describing_digest",
    "describing_files",
    "digest",
    "dtype_of",
    "is_portable",
    "licence",
    "locate",
    "locate_description",
    "matrices",
    "origin_of",
    "own_tokenizer",
    "read_config",
    "read_json",
    "require_digest",
    "tensors",
    "tokenizer_digest",
    "tokenizer_files",
    "warn_of_licence",
    "weight_files",
]

log = logging.getLogger("modelmill")

TOKENIZER_KEY = sections.TOKENIZER
SOURCES = "a folder, s3://BUCKET/PREFIX, hf://ORG/NAME@REVISION or models:/NAME/VERSION"

_AT_ONCE = 4

licence = origin.licence


def locate(key: str, source: str, store: Store) -> Path:
    """Return the folder with the model, or the tokenizer, that a recipe names; what is elsewhere is fetched first.

    Args:
        key: The recipe's key, for messages; of `preprocessing.tokenizer.from` the tokenizer alone is wanted.
        source: A folder, `s3://BUCKET/PREFIX`, `hf://ORG/NAME@REVISION` or `models:/NAME/VERSION`.
        store: The run's store.

    Raises:
        UserError: There is no such model, or its weights are not whole safetensors that transformers has a model for.
        CorruptError: The store has other bytes of a file than were registered.
    """
    where = f"{key}: {source}"
    tokenizer_only = key == TOKENIZER_KEY
    folder = _fetch(where, source, store, tokenizer_only)
    if tokenizer_only:
        return tokenizers.ready(where, folder)
    folder = timm.ready(where, folder)
    checkpoint.check(where, folder)
    architecture.check(where, read_json(where, folder / CONFIG))
    return timm_backbones.ready(where, folder)


def locate_description(key: str, source: str, store: Store) -> Path:
    """Return a folder with a model's configuration, tokenizer and processor as they come; no weights are fetched.

    Args:
        key: The recipe's key, for messages.
        source: As `locate` takes it.
        store: The run's store.

    Raises:
        UserError: There is no such model, or none that transformers has an architecture for.
    """
    where = f"{key}: {source}"
    folder = timm.ready(where, _fetch(where, source, store, True))
    if not (folder / CONFIG).is_file():
        raise UserError(f"{where}: no {CONFIG} in it; is it a model that save_pretrained has written?")
    architecture.check(where, read_json(where, folder / CONFIG))
    return timm_backbones.ready(where, folder)


def describing_files(folder: Path) -> list[Path]:
    """Return the files of a folder that `locate_description` is for."""
    return sorted(file for file in folder.iterdir() if layout.prepares_inputs(file.name))


def describing_digest(folder: Path) -> str:
    """Return the digest of a model's configuration, tokenizer and processor."""
    return _digest(describing_files(folder))


def is_portable(source: str) -> bool:
    """Return whether a source is the same on any machine: not a folder of this one."""
    return source.startswith((registered.SCHEME, hub.SCHEME, bucket.SCHEME))


def digest(folder: Path) -> str:
    """Return the digest of the files that a model is loaded from, wherever the folder lies."""
    described = [folder / name for name in (CONFIG, GENERATION, INDEX) if (folder / name).is_file()]
    if (folder / WEIGHTS).is_file():  # then no index counts
        described = [file for file in described if file.name != INDEX]
    return _digest([*described, *weight_files(folder), *tokenizer_files(folder)])


def require_digest(where: str, folder: Path, expected: str) -> None:
    """Check that a model is the one that a step's key was made from: a branch of a hub, or a folder, may change.

    Args:
        where: Key and source, for the message.
        folder: The model's folder.
        expected: Digest that the model had when the step began.

    Raises:
        UserError: It has changed since.
    """
    if digest(folder) != expected:
        raise UserError(f"{where}: it has changed since the step began; run the same command again, best on a commit")


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the tokenizer's files in a folder; a chat template has a file of its own or is in the configuration."""
    return tokenizers.files(folder)


def tokenizer_digest(folder: Path) -> str:
    """Return the digest of the tokenizer in a model folder.

    Raises:
        UserError: The folder has no `tokenizer.json`.
    """
    if not (folder / TOKENIZER[0]).is_file():
        raise UserError(f"{TOKENIZER_KEY}: {folder}: no {TOKENIZER[0]} in it")
    return _digest(tokenizer_files(folder))


def own_tokenizer(folder: Path) -> Path | None:
    """Return the `tokenizer.json` of a model's own tokenizer, None where there is none or none can be made."""
    return tokenizers.own(folder)


def origin_of(key: str, source: str, store: Store) -> dict[str, str]:
    """Return source, revision and licence of a model, for the manifest of what is made of it.

    Args:
        key: The recipe's key, for messages.
        source: As `locate` takes it.
        store: The run's store.
    """
    folder = locate(key, source, store)
    return origin.of(source, folder) | {"digest": digest(folder)}


@functools.cache
def warn_of_licence(where: str, folder: Path) -> None:
    """Warn once where a model says nothing of its licence."""
    if licence(folder) is None:
        log.warning("%s: names no licence, neither in README.md nor in a LICENSE file; see that you may use it", where)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration in a model folder.

    Raises:
        UserError: `config.json` is not a JSON object.
    """
    return read_json("pretraining.init", folder / CONFIG)


def _fetch(where: str, source: str, store: Store, tokenizer_only: bool) -> Path:
    if source.startswith(registered.SCHEME):
        return registered.fetch(where, source, store, tokenizer_only)  # type: ignore[arg-type]
    if source.startswith(hub.SCHEME):
        return hub.fetch(where, source, tokenizer_only)
    if source.startswith(bucket.SCHEME):
        return bucket.fetch(where, source, tokenizer_only)
    folder = Path(source)
    if folder.is_file() and folder.suffix in PICKLES:
        raise layout.pickle(where, folder.name)
    if not folder.is_dir():
        raise UserError(f"{where}: no such folder (a demo's model: modelmill demo-model NAME); name {SOURCES}")
    return folder


def _digest(files: list[Path]) -> str:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return digests.of_json(
            [[file.name, sha256] for file, sha256 in zip(files, pool.map(file_digests.of, files), strict=True)]
        )
