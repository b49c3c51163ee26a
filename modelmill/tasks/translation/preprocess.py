"""Preprocessing of pairs of texts: split by the source, fit the tokenizer on the training split, encode."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, packing
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.shard_cache import Encoded
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import given_tokenizer, tokenizer
from modelmill.corpus.text.resolve_tokenizer import the_tokenizer
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.translation import pretrained_corpus
from modelmill.tasks.translation.pretrained_corpus import Fitted
from modelmill.tasks.translation.recipe import Recipe, TranslationPreprocessing

SIDES = ("source", "target")
# Special tokens by role; `source_token` and `target_token` tell the decoder which language to write.
NAMED = {"mask_token": "<|mask|>", "pad_token": "<|pad|>", "source_token": "<|source|>", "target_token": "<|target|>"}


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus; see `pretrained_corpus` for that of a checkpoint.

    Each split has `source` and `target`, (rows, sequence_length), texts with the token that ends them, padded, and
    `paired`, bool, (rows,).

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing, null or not text, a text is empty or too long where the recipe refuses these, or
            no training row is a pair.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    if isinstance(recipe.model, PretrainedModel):
        return pretrained_corpus.preprocess(step, shards)
    settings = recipe.preprocessing
    columns = {"preprocessing.source": settings.source, "preprocessing.target": settings.target}
    rows = in_memory.read(step, shards, columns)
    texts = {side: rows.columns[column] for side, column in zip(SIDES, columns.values(), strict=True)}
    is_kept = ~_empty(texts, settings)
    training = [
        text
        for side in SIDES
        for text, split, keep in zip(texts[side], rows.splits, is_kept, strict=True)
        if keep and split == "train"
    ]
    folder, settled = the_tokenizer(
        step,
        settings.tokenizer.source,
        lambda folder: tokenizer.train(iter(training), settings.tokenizer.vocab_size, folder, NAMED),
    )
    encoder = tokenizer.load(folder)
    special = _special(folder, encoder.get_vocab(with_added_tokens=True))
    encoded = {
        side: [[*one.ids, special["end"]] for one in encoder.encode_batch_fast(texts[side], add_special_tokens=False)]
        for side in SIDES
    }
    is_kept &= ~_too_long(encoded, settings)
    size = encoder.get_vocab_size(with_added_tokens=True)
    arrays: dict[str, np.ndarray] = {
        side: _padded(encoded[side], settings.sequence_length, special["padding"], size) for side in SIDES
    }
    arrays["paired"] = _paired(rows, settings)
    arrays = {name: array[is_kept] for name, array in arrays.items()}
    kept = rows._replace(splits=rows.splits[is_kept], ids=rows.ids[is_kept])
    files = {f"tokenizer/{file.name}": file.read_bytes() for file in weights.tokenizer_files(folder)}
    for split in SPLITS:
        chosen = np.flatnonzero(is_kept & (rows.splits == split))
        of_split = {side: [texts[side][row] for row in chosen] for side in SIDES}
        files[f"texts/{split}.json"] = json.dumps(of_split, ensure_ascii=False).encode()
    info = {"vocab_size": size, "sequence_length": settings.sequence_length, "special": special}
    made = in_memory.corpus(step, in_memory.by_split(kept, arrays), info, files)
    pairs, dropped = int((arrays["paired"] & (kept.splits == "train")).sum()), int((~is_kept).sum())
    if not pairs:
        raise UserError("preprocessing.paired: no training row is a pair for fine-tuning; raise it, or add data")
    return replace(
        made,
        headline=made.headline + f"; {pairs:,} pairs" + (f", {dropped:,} left out" if dropped else ""),
        metrics=made.metrics | {"training_pairs": pairs, "left_out": dropped},
        same_for=settled,
    )


def fit(step: Step, shards: list[tuple[Shard, str]]) -> Fitted | None:
    """Return what a checkpoint's texts are encoded with; None for a tokenizer that is fitted on all texts.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
    """
    return pretrained_corpus.fit(step) if isinstance(step.recipe.model, PretrainedModel) else None


def encode(
    step: Step, shards: list[tuple[Shard, str]], fitted: Fitted | None, chosen: range
) -> tuple[list[Encoded], int]:
    """Encode some shards for `preprocess` to find; see `modelmill.tasks.contract.Preprocessing`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        fitted: What `fit` has returned.
        chosen: Numbers of the shards to encode.
    """
    return pretrained_corpus.encode(step, shards, fitted, chosen) if fitted else ([], 0)


def _empty(texts: dict[str, list[Any]], settings: TranslationPreprocessing) -> np.ndarray:
    """Return which rows lack a text on one of the sides: bool, (rows,)."""
    empty = np.zeros(len(texts["source"]), bool)
    for side, column in zip(SIDES, (settings.source, settings.target), strict=True):
        for row, text in enumerate(texts[side]):
            if not isinstance(text, str):
                kind = type(text).__name__
                raise UserError(f"preprocessing.{side}: column {column!r} holds {kind}, not text, in row {row + 1:,}")
            if not text.strip():
                if settings.empty_text == "refuse":
                    raise UserError(
                        f"preprocessing.{side}: row {row + 1:,} of the data has an empty {column!r}; mend the data, "
                        "or set preprocessing.empty_text: drop"
                    )
                empty[row] = True
    return empty


def _too_long(encoded: dict[str, list[list[int]]], settings: TranslationPreprocessing) -> np.ndarray:
    """Return which rows have a text of too many tokens, its end included: bool, (rows,)."""
    lengths = np.array([[len(ids) for ids in encoded[side]] for side in SIDES]).max(axis=0)
    too_long = lengths > settings.sequence_length
    if too_long.any() and settings.long_text == "refuse":
        row = int(np.flatnonzero(too_long)[0])
        raise UserError(
            f"preprocessing.sequence_length: row {row + 1:,} of the data, and {int(too_long.sum()):,} in all, has a "
            f"text of more than {settings.sequence_length} tokens ({lengths[row]}); raise it, or set "
            "preprocessing.long_text: drop"
        )
    return too_long


def _special(folder: Path, vocabulary: dict[str, int]) -> dict[str, int]:
    named = given_tokenizer.named_tokens(folder)
    tokens = {"end": named.get("eos_token"), **{name: named.get(name) for name in NAMED}}
    if lacking := [name for name, token in tokens.items() if token not in vocabulary]:
        raise UserError(
            f"preprocessing.tokenizer.from: {folder / weights.TOKENIZER[1]} names no {lacking[0]} that the tokenizer "
            "knows; take the tokenizer of another translator, or leave `from` out"
        )
    ids = {name.removesuffix("_token"): vocabulary[str(token)] for name, token in tokens.items()}
    return {("padding" if name == "pad" else name): number for name, number in ids.items()}


def _padded(texts: list[list[int]], length: int, padding: int, size: int) -> np.ndarray:
    tokens = np.full((len(texts), length), padding, packing.token_type(size))
    for row, ids in zip(tokens, texts, strict=True):
        row[: min(len(ids), length)] = ids[:length]
    return tokens


def _paired(rows: AllRows, settings: TranslationPreprocessing) -> np.ndarray:
    """Return which rows fine-tuning may use as pairs, bool, (rows,): held-out rows and a share of the training rows.

    A higher share keeps the rows of a lower one.
    """
    drawn = np.array([digest.fraction(f"paired:{one:016x}") for one in rows.ids.tolist()])
    return (rows.splits != "train") | (drawn < settings.paired)
