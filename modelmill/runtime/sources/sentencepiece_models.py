"""Tokenizers of translators that have no `tokenizer.json`, made of their SentencePiece files without that library.

Marian has a SentencePiece model for each side and one vocabulary for both, so each side gets a tokenizer that reads,
and `tokenizer.json` turns ids into text. M2M100 has one model. `transformers` reads them with the library sentencepiece
alone.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelmill.core.errors import UserError
from modelmill.runtime.sources import layout
from modelmill.runtime.sources.layout import (
    PAIRED_MODELS,
    PAIRED_TOKENIZERS,
    PAIRED_VOCABULARY,
    SPECIAL_TOKENS,
    TOKENIZER,
)

_TARGET_VOCABULARY, _M2M_MODEL = "target_vocab.json", "sentencepiece.bpe.model"
# Kinds of pieces, and of models, as sentencepiece numbers them.
_NORMAL, _USER_DEFINED = 1, 4
_UNIGRAM, _BPE = 1, 2
# Begins the name of a piece that is not read; no text has the character.
_UNREADABLE = "\uffff"


def is_paired(folder: Path) -> bool:
    """Return whether a folder has a SentencePiece model for each side of a translation."""
    return all((folder / name).is_file() for name in (*PAIRED_MODELS, PAIRED_VOCABULARY))


def is_m2m(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a folder has the files of an M2M100.

    Args:
        folder: The folder.
        config: Content of its `config.json`.
    """
    return config.get("model_type") == "m2m_100" and all(
        (folder / n).is_file() for n in (PAIRED_VOCABULARY, _M2M_MODEL)
    )


def convert_paired(where: str, folder: Path, made: Path) -> None:
    """Write the tokenizers of a Marian.

    Args:
        where: Key and source, for messages.
        folder: The checkpoint's folder.
        made: The folder to write into.

    Raises:
        UserError: The files are not those of a Marian with one vocabulary.
    """
    from tokenizers import Tokenizer, decoders, models

    if (folder / _TARGET_VOCABULARY).is_file():
        raise UserError(f"{where}: {_TARGET_VOCABULARY}: it has a vocabulary for each side, which is not supported")
    tokens, unknown = _tokens(where, folder)
    for name, target in zip(PAIRED_MODELS, PAIRED_TOKENIZERS, strict=True):
        _reader(where, folder / name).save(str(made / target))
    shared = Tokenizer(models.Unigram([(token, 0.0) for token in tokens], unknown, False))
    shared.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    named = _named(folder)
    special = {"</s>", "<unk>", "<pad>", *(token for name, token in named.items() if name.endswith("_token"))}
    languages = [token for token in tokens if token.startswith(">>") and token.endswith("<<")]
    shared.add_special_tokens([token for token in tokens if token in special] + languages)
    shared.save(str(made / TOKENIZER[0]))
    _write_config(folder, made, {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"} | named)


def convert_m2m(where: str, folder: Path, made: Path) -> None:
    """Write the tokenizer of an M2M100.

    Args:
        where: Key and source, for messages.
        folder: The checkpoint's folder.
        made: The folder to write into.

    Raises:
        UserError: The files are not those of an M2M100, or name no languages.
    """
    from tokenizers import Tokenizer, decoders, models, processors
    from transformers.convert_slow_tokenizer import generate_merges

    tokens, _ = _tokens(where, folder)
    proto = _model(where, folder / _M2M_MODEL, _BPE)
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type in (_NORMAL, _USER_DEFINED)}
    if lost := sorted(scores.keys() - set(tokens)):
        raise UserError(f"{where}: {_M2M_MODEL} has pieces that {PAIRED_VOCABULARY} lacks, such as {lost[0]!r}")
    named = _named(folder)
    extra = named.get("additional_special_tokens") or named.get("extra_special_tokens") or []
    languages = [str(one) for one in extra if str(one).startswith("__") and str(one) not in tokens]
    if not languages:
        raise UserError(f"{where}: neither {SPECIAL_TOKENS} nor {TOKENIZER[1]} names its languages (__en__)")
    numbers = {token: number for number, token in enumerate([*tokens, *languages])}
    merges = generate_merges(numbers, scores)
    tokenizer = Tokenizer(models.BPE(numbers, merges, unk_token="<unk>", fuse_unk=True))
    _set_reading(tokenizer, proto)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", *languages])
    first = languages[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[first, "$A", "</s>"], special_tokens=[(first, numbers[first]), ("</s>", numbers["</s>"])]
    )
    tokenizer.save(str(made / TOKENIZER[0]))
    usual = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    _write_config(folder, made, usual | named)


def _reader(where: str, file: Path) -> Any:
    """Return the tokenizer of a side, whose pieces are numbered as in its file."""
    from tokenizers import Tokenizer, models

    proto = _model(where, file, _UNIGRAM)
    # Pieces of other kinds, such as the end of a text, are never found in one.
    pieces = [
        (piece.piece if piece.type in (_NORMAL, _USER_DEFINED) else f"{_UNREADABLE}{number}", piece.score)
        for number, piece in enumerate(proto.pieces)
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, proto.trainer_spec.unk_id, False))
    _set_reading(tokenizer, proto)
    return tokenizer


def _set_reading(tokenizer: Any, proto: Any) -> None:
    """Set how a model changes and splits texts before it reads them, in place."""
    from tokenizers import Regex, normalizers, pre_tokenizers

    spec = proto.normalizer_spec
    steps: list[Any] = [normalizers.Precompiled(spec.precompiled_charsmap)] if spec.precompiled_charsmap else []
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Strip(left=True, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    scheme = "always" if spec.add_dummy_prefix else "never"
    splits = not any("▁" in piece.piece[1:] for piece in proto.pieces)  # else pieces run over words
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=splits)


def _model(where: str, file: Path, kind: int) -> Any:
    """Return what a SentencePiece file holds.

    Raises:
        UserError: It is no such file, or of another kind.
    """
    # Not that of sentencepiece itself, where it is installed: it asks for a protobuf as new as its own.
    from transformers.utils import sentencepiece_model_pb2_new

    proto: Any = sentencepiece_model_pb2_new.ModelProto()
    try:
        proto.ParseFromString(file.read_bytes())
    except Exception as error:  # of protobuf's own kind
        raise UserError(f"{where}: {file.name} is not a SentencePiece model; copy it again") from error
    if proto.trainer_spec.model_type != kind or proto.trainer_spec.byte_fallback or not proto.pieces:
        raise UserError(
            f"{where}: {file.name} is a SentencePiece model of another kind; save the tokenizer where transformers "
            "can, AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER), and name FOLDER"
        )
    return proto


def _tokens(where: str, folder: Path) -> tuple[list[str], int]:
    """Return the tokens of a vocabulary in the order of their ids, and the id of the unknown one."""
    numbers = layout.read_json(where, folder / PAIRED_VOCABULARY)
    tokens = sorted(numbers, key=lambda token: numbers[token])
    if [numbers[token] for token in tokens] != list(range(len(tokens))) or "<unk>" not in numbers:
        raise UserError(
            f"{where}: {PAIRED_VOCABULARY} does not number its tokens from 0 on, or has no <unk>; copy it again"
        )
    return tokens, int(numbers["<unk>"])


def _named(folder: Path) -> dict[str, Any]:
    """Return the special tokens that the folder's files name, each as text."""
    named: dict[str, Any] = {}
    for name in (SPECIAL_TOKENS, TOKENIZER[1]):
        content = layout.read_json(str(folder), folder / name) if (folder / name).is_file() else {}
        for key, token in content.items():
            text = token.get("content") if isinstance(token, dict) else token
            if (key.endswith("_token") and isinstance(text, str)) or key.endswith("special_tokens"):
                named[key] = text
    return named


def _write_config(folder: Path, made: Path, named: dict[str, Any]) -> None:
    file = folder / TOKENIZER[1]
    config = layout.read_json(str(folder), file) if file.is_file() else {}
    (made / TOKENIZER[1]).write_text(json.dumps(named | config, indent=2, sort_keys=True), "utf-8")
