"""A tokenizer taken from a model folder, so that its files say all that `transformers` makes of them."""

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from modelmill.core.errors import UserError
from modelmill.runtime.weights import CONFIG, TOKENIZER, read_json, tokenizer_files

KEY = "preprocessing.tokenizer.from"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
# Classes that take tokenizer.json as it is.
_GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")
_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# The parts of tokenizer.json that some classes of transformers replace by their own.
_REPLACED = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def copy(source: Path, folder: Path) -> None:
    """Copy the tokenizer of a model folder.

    Some names of special tokens are defaults of a class that only the model's configuration names, and some classes
    split texts in other ways than `tokenizer.json` says. What users of the model get counts, so both are written down.

    Raises:
        UserError: The folder has no tokenizer, or one that is none.
    """
    for name in TOKENIZER:
        if not (source / name).is_file():
            raise UserError(f"{KEY}: {source}: no {name} in it")
    folder.mkdir(parents=True, exist_ok=True)
    for file in tokenizer_files(source):
        shutil.copyfile(file, folder / file.name)
    theirs = _as_transformers_has_it(source)
    if theirs is not None:  # else tokenizer.json alone counts
        _write_names(theirs, folder)
        _write_ways(theirs, folder / TOKENIZER[0])


def named_tokens(folder: Path) -> dict[str, str]:
    """Return the special tokens that a tokenizer's files name, such as `eos_token`.

    Raises:
        UserError: A file is not a JSON object.
    """
    named: dict[str, str] = {}
    for file in (SPECIAL_TOKENS_MAP, TOKENIZER[1]):
        content = read_json(KEY, folder / file) if (folder / file).is_file() else {}
        for name, token in content.items():
            token = token.get("content") if isinstance(token, dict) else token
            if name.endswith("_token") and isinstance(token, str):
                named[name] = token
    return named


def settings(folder: Path) -> dict[str, Any]:
    """Return the content of a tokenizer's configuration.

    Raises:
        UserError: It is not a JSON object.
    """
    return read_json(KEY, folder / TOKENIZER[1])


def _as_transformers_has_it(folder: Path) -> Any:
    """Return the tokenizer that `AutoTokenizer` makes of a folder; None where it makes none, or nothing new."""
    if _is_complete(folder):
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception:  # the library raises whatever its files make it stumble over
        return None


def _is_complete(folder: Path) -> bool:
    """Return whether the files say all, as those that Modelmill writes do; importing `AutoTokenizer` takes seconds."""
    config = read_json(KEY, folder / TOKENIZER[1])
    model = read_json(KEY, folder / CONFIG) if (folder / CONFIG).is_file() else {}
    named = config.get("tokenizer_class") in _GENERIC and isinstance(config.get("eos_token"), str)
    return named and not (folder / SPECIAL_TOKENS_MAP).is_file() and model.get("model_type", "llama") == "llama"


def _write_names(theirs: Any, folder: Path) -> None:
    """Write the special tokens that the folder's files do not name, or name otherwise, into its configuration."""
    known, named = Tokenizer.from_file(str(folder / TOKENIZER[0])), named_tokens(folder)
    tokens = {name: str(token) for name in _NAMES if (token := getattr(theirs, name, None))}
    lacking = {
        name: token
        for name, token in tokens.items()
        if named.get(name) != token and known.token_to_id(token) is not None
    }
    if lacking:
        config = read_json(KEY, folder / TOKENIZER[1]) | lacking
        (folder / TOKENIZER[1]).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")


def _write_ways(theirs: Any, file: Path) -> None:
    """Write the ways in which `transformers` splits and joins texts, if `tokenizer.json` has others."""
    backend = getattr(theirs, "backend_tokenizer", None)
    if backend is None:
        return
    ours, made = json.loads(Tokenizer.from_file(str(file)).to_str()), json.loads(backend.to_str())
    if not (made["post_processor"] or {}).get("special_tokens", True):
        made["post_processor"] = ours["post_processor"] and made["post_processor"]  # one that adds nothing is none
    changed = {key: made[key] for key in _REPLACED if made[key] != ours[key]}
    said = ours["model"]
    flags = {key: value for key, value in made["model"].items() if key not in ("vocab", "merges")}
    differing = {key: value for key, value in flags.items() if (value or None) != (said.get(key) or None)}
    if differing and made["model"]["type"] == said["type"]:
        changed["model"] = said | differing
    if changed:
        file.write_text(json.dumps(ours | changed, ensure_ascii=False), "utf-8")
