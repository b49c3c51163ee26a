"""Preprocessing of pairs of texts: split by the source, fit the tokenizer on the training split, encode."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import example_shards, in_memory, packing, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.row_notes import Noted, Piece, ShardRows, Validated
from modelmill.corpus.shard_cache import Encoded
from modelmill.corpus.text import given_tokenizer, tokenizer
from modelmill.corpus.text.resolve_tokenizer import the_tokenizer
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import PretrainedModel
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.translation import pretrained_corpus
from modelmill.tasks.translation.pretrained_corpus import Fitted
from modelmill.tasks.translation.recipe import Recipe, TranslationPreprocessing
from modelmill.tasks.translation.sides import SIDES

# Settings that change no tokens.
UNREAD = frozenset({"empty_text", "long_text"})
# Special tokens by role; `source_token` and `target_token` tell the decoder which language to write.
NAMED = {"mask_token": "<|mask|>", "pad_token": "<|pad|>", "source_token": "<|source|>", "target_token": "<|target|>"}


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus; see `pretrained_corpus` for that of a checkpoint.

    Each split has examples with `source` and `target`, the tokens of texts with the one that ends them; `source_text`
    and `target_text`; and `paired`, whether fine-tuning may use them as a pair.

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
    noted = row_notes.note(step, shards, columns, look=partial(_look, settings=settings))
    is_empty = _empty(noted.notes, settings)
    rows = in_memory.chosen(noted.rows, ~is_empty)
    chosen = noted.where(rows)
    folder, settled = the_tokenizer(
        step,
        settings.tokenizer.source,
        lambda folder: tokenizer.train(
            _training_texts(shards, chosen, columns.values()), settings.tokenizer.vocab_size, folder, NAMED
        ),
    )
    special = _special(folder, tokenizer.load(folder).get_vocab(with_added_tokens=True))
    content = weights.tokenizer_digest(folder)
    work = partial(_encode, folder=folder, content=content, settings=settings, end=special["end"])
    encoded, new = streaming.encode(step, shards, chosen, work, content, UNREAD)
    if (too_long := streaming.count(encoded, "all", "too_long")) and settings.long_text == "refuse":
        raise UserError(
            _first_too_long(
                shards, noted, chosen, partial(_tokens, tokenizer.load(folder), settings), settings, too_long
            )
        )
    files = {f"tokenizer/{file.name}": file.read_bytes() for file in weights.tokenizer_files(folder)}
    size = tokenizer.load(folder).get_vocab_size(with_added_tokens=True)
    info = {"vocab_size": size, "sequence_length": settings.sequence_length, "special": special}
    made = streaming.corpus(step, encoded, info, files)
    pairs, dropped = streaming.count(encoded, "train", "pairs"), int(is_empty.sum()) + too_long
    if not pairs:
        raise UserError("preprocessing.paired: no training row is a pair for fine-tuning; raise it, or add data")
    return replace(
        made,
        headline=made.headline + f"; {pairs:,} pairs" + (f", {dropped:,} left out" if dropped else ""),
        metrics=made.metrics | {"training_pairs": pairs, "left_out": dropped, "new_shards": new},
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


def _look(piece: Piece, settings: TranslationPreprocessing) -> dict[str, np.ndarray]:
    """Note which rows lack a text on which side."""
    empty = {}
    for side, column in zip(SIDES, (settings.source, settings.target), strict=True):
        for row, text in zip(piece.rows, texts := piece.values(column), strict=True):
            if not isinstance(text, str):
                kind = type(text).__name__
                raise UserError(f"preprocessing.{side}: column {column!r} holds {kind}, not text, in row {row + 1:,}")
        empty[side] = np.array([not text.strip() for text in texts], bool)
    return empty


def _empty(notes: dict[str, np.ndarray], settings: TranslationPreprocessing) -> np.ndarray:
    """Return which rows lack a text on one of the sides: bool, (rows,)."""
    for side, column in zip(SIDES, (settings.source, settings.target), strict=True):
        if notes[side].any() and settings.empty_text == "refuse":
            raise UserError(
                f"preprocessing.{side}: row {int(notes[side].argmax()) + 1:,} of the data has an empty {column!r}; "
                "mend the data, or set preprocessing.empty_text: drop"
            )
    return notes["source"] | notes["target"]


def _training_texts(validated: Validated, rows: list[ShardRows], columns: Iterable[str]) -> Iterator[str]:
    for column in columns:
        for (shard, sha256), chosen in zip(validated, rows, strict=True):
            for piece in streaming.pieces(shard, sha256, chosen.of("train")):
                yield from piece.values(column)


def _encode(
    piece: Piece, writer: ShardedWriter, *, folder: Path, content: str, settings: TranslationPreprocessing, end: int
) -> dict[str, dict[str, int]]:
    """Write the tokens of both texts of each row, and the texts; return how many rows are too long, and pairs."""
    encoder = tokenizer.kept(folder, content)
    dtype = packing.token_type(encoder.get_vocab_size(with_added_tokens=True))
    texts = {side: piece.values(column) for side, column in zip(SIDES, (settings.source, settings.target), strict=True)}
    too_long = pairs = 0
    for place, ids in enumerate(_tokens(encoder, settings, piece)):
        if max(map(len, ids)) + 1 > settings.sequence_length:
            too_long += 1
            continue
        split, identity = piece.splits[place], piece.ids[place]
        is_pair = _is_pair(split, identity, settings.paired)
        pairs += is_pair and split == "train"
        tokens = {side: np.array([*one, end], dtype) for side, one in zip(SIDES, ids, strict=True)}
        written = {f"{side}_text": example_shards.of_text(texts[side][place]) for side in SIDES}
        writer.add(split, identity, {**tokens, **written, "paired": np.array(is_pair)})
    return {"all": {"too_long": too_long}, "train": {"pairs": pairs}}


def _tokens(encoder: Tokenizer, settings: TranslationPreprocessing, piece: Piece) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of each row's source and target, without the one that ends them."""
    source, target = (
        [one.ids for one in encoder.encode_batch_fast(piece.values(column), add_special_tokens=False)]
        for column in (settings.source, settings.target)
    )
    return list(zip(source, target, strict=True))


def _first_too_long(
    validated: Validated,
    noted: Noted,
    rows: list[ShardRows],
    tokens: Callable[[Piece], list[tuple[list[int], list[int]]]],
    settings: TranslationPreprocessing,
    count: int,
) -> str:
    """Return what to say of rows that are too long, of which there are some."""
    before = 0
    for (shard, sha256), known, chosen in zip(validated, noted.shards, rows, strict=True):
        for piece in streaming.pieces(shard, sha256, chosen):
            for row, ids in zip(piece.rows, tokens(piece), strict=True):
                if (length := max(map(len, ids)) + 1) > settings.sequence_length:
                    return (
                        f"preprocessing.sequence_length: row {before + row + 1:,} of the data, and {count:,} in all, "
                        f"has a text of more than {settings.sequence_length} tokens ({length}); raise it, or set "
                        "preprocessing.long_text: drop"
                    )
        before += len(known.rows)
    raise AssertionError(f"{count} rows were too long")


def _is_pair(split: str, identity: int, share: float) -> bool:
    """Return whether fine-tuning may use a row as a pair: held-out rows and a share of the training rows.

    A higher share keeps the rows of a lower one.
    """
    return split != "train" or digest.fraction(f"paired:{identity:016x}") < share


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
