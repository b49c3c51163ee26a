"""Tokenizers in the layouts that models come in, brought into the one that the steps read.

The steps read `tokenizer.json` and the names of special tokens in `tokenizer_config.json`. Older models have the names
in `special_tokens_map.json` or in a class of `transformers`, or have the vocabulary in files of their own.
"""

import contextlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelmill.core import digest
from modelmill.core.errors import UserError, one_line
from modelmill.runtime.sources import cached, file_digests, layout, sentencepiece_models
from modelmill.runtime.sources.layout import (
    CHAT_TEMPLATE,
    CONFIG,
    PAIRED_TOKENIZERS,
    SPECIAL_TOKENS,
    TOKENIZER,
    VOCABULARIES,
)

# What a conversion must encode as the original does.
_PROBES = ("Hello world", "def f(x):\n    return x + 1  # naïve ☃\n", "  two  spaces, 12345 and UPPER case")


def ready(where: str, folder: Path) -> Path:
    """Return a folder with the tokenizer as the steps read it: the one given, or one in the cache that was made of it.

    Args:
        where: Key and source, for messages.
        folder: The model's or tokenizer's folder.

    Raises:
        UserError: There is no tokenizer in it, or transformers cannot convert it here.
    """
    has_file = (folder / TOKENIZER[0]).is_file()
    if not has_file and not any((folder / name).is_file() for name in VOCABULARIES):
        raise UserError(f"{where}: no {TOKENIZER[0]} in it, nor another file with a vocabulary")
    config = _config(where, folder)
    named = _with_special_tokens(where, folder, config)
    if has_file and _names_tokens(named):
        return folder if named == config else _made(folder, lambda made: _copy(folder, made, named))
    if has_file and not _has_class(where, folder, config):
        return folder
    if has_file:
        return _made(folder, lambda made: _copy(folder, made, named | _tokens_of_class(folder)))
    return _made(folder, lambda made: _convert(where, folder, made))


def own(folder: Path) -> Path | None:
    """Return the `tokenizer.json` of a model's own tokenizer, None where there is none or none can be made.

    Args:
        folder: The model's folder.
    """
    with contextlib.suppress(UserError):
        file = folder / TOKENIZER[0]
        return file if file.is_file() else ready(str(folder), folder) / TOKENIZER[0]
    return None


def files(folder: Path) -> list[Path]:
    """Return the tokenizer's files in a folder; a chat template has a file of its own or is in the configuration."""
    names = (*TOKENIZER, CHAT_TEMPLATE, SPECIAL_TOKENS, *PAIRED_TOKENIZERS)
    return [folder / name for name in names if (folder / name).is_file()]


def _config(where: str, folder: Path) -> dict[str, Any]:
    file = folder / TOKENIZER[1]
    return layout.read_json(where, file) if file.is_file() else {}


def _with_special_tokens(where: str, folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with the names of the special tokens' own file, which counts as in transformers."""
    file = folder / SPECIAL_TOKENS
    if not file.is_file() or "added_tokens_decoder" in config:
        return config
    return config | {name: token for name, token in layout.read_json(where, file).items() if name.endswith("_token")}


def _names_tokens(config: dict[str, Any]) -> bool:
    return any(token for name, token in config.items() if name.endswith("_token") and not name.startswith("add_"))


def _has_class(where: str, folder: Path, config: dict[str, Any]) -> bool:
    """Return whether a class of transformers may know the special tokens."""
    if "tokenizer_class" in config:
        return True
    return (folder / CONFIG).is_file() and "model_type" in layout.read_json(where, folder / CONFIG)


def _made(folder: Path, make: Any) -> Path:
    """Return the folder in the cache that `make` has filled, now or before, from the same files."""
    names = sorted(f.name for f in folder.iterdir() if layout.is_of_tokenizer(f.name) or f.name == CONFIG)
    versions = [importlib.metadata.version(name) for name in ("transformers", "tokenizers")]
    key = digest.of_json([versions, [[name, file_digests.of(folder / name)] for name in names]])
    place = cached.folder("tokenizers") / key
    if not (place / TOKENIZER[1]).is_file():
        with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            make(made)
            with contextlib.suppress(OSError):  # another process was first
                made.rename(place)
    return place


def _copy(folder: Path, made: Path, config: dict[str, Any]) -> None:
    for name in (TOKENIZER[0], CHAT_TEMPLATE):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, made / name)
    (made / TOKENIZER[1]).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")


def _tokens_of_class(folder: Path) -> dict[str, str]:
    """Return the special tokens that the class in transformers names and the tokenizer has, such as GPT-2's."""
    from tokenizers import Tokenizer

    try:
        with _quietly() as transformers:
            loaded = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        known = Tokenizer.from_file(str(folder / TOKENIZER[0]))
    except Exception:  # then it names none, which is for those to say who need one
        return {}
    return {name: token for name, token in loaded.special_tokens_map.items() if known.token_to_id(token) is not None}


def _convert(where: str, folder: Path, made: Path) -> None:
    """Write the `tokenizer.json` that transformers makes of older files.

    Raises:
        UserError: It cannot, or what it writes encodes a text in another way.
    """
    from tokenizers import Tokenizer

    model = layout.read_json(where, folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if sentencepiece_models.is_paired(folder):
        return sentencepiece_models.convert_paired(where, folder, made)
    if sentencepiece_models.is_m2m(folder, model):
        return sentencepiece_models.convert_m2m(where, folder, made)

    given = next(name for name in VOCABULARIES if (folder / name).is_file())
    advice = (
        "save it where transformers can, AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER), and name FOLDER"
    )
    try:
        with _quietly() as transformers:
            loaded = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            loaded.save_pretrained(made)
        converted = Tokenizer.from_file(str(made / TOKENIZER[0]))
        differs = any(
            converted.encode(text, add_special_tokens=False).ids != loaded(text, add_special_tokens=False)["input_ids"]
            for text in _PROBES
        )
    except Exception as error:  # whatever a tokenizer's class raises of its files
        why = one_line(error)[:200]
        raise UserError(
            f"{where}: no {TOKENIZER[0]} in it, and transformers cannot make one of {given} here ({why}); {advice}"
        ) from error
    if differs:
        raise UserError(f"{where}: the {TOKENIZER[0]} made of {given} encodes texts in another way; {advice}")
    config = json.loads((made / TOKENIZER[1]).read_text("utf-8"))
    for name in ("is_local", "local_files_only", "name_or_path"):  # of this machine, not of the tokenizer
        config.pop(name, None)
    (made / TOKENIZER[1]).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")


@contextlib.contextmanager
def _quietly() -> Iterator[Any]:
    """Give transformers without what it says of files that are not as it would have them, and with no way out."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield transformers
    finally:
        transformers.logging.set_verbosity(before)
