"""Preprocessing of texts and labels into token arrays: split, fit the tokenizer on the training split, encode."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import example_shards, in_memory, packing, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.row_notes import Piece, ShardRows, Validated
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import given_tokenizer, tokenizer
from modelmill.corpus.text.resolve_tokenizer import the_tokenizer
from modelmill.data.shard import Shard
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.text_classification import labels
from modelmill.tasks.text_classification.recipe import Recipe, TextPreprocessing

MASK, PAD = "<|mask|>", "<|pad|>"
# Settings that change no text's tokens.
UNREAD = frozenset({"labels", "label", "labelled", "unknown_label", "empty_text"})


class Special(NamedTuple):
    """Ids of special tokens.

    Attributes:
        first: Before a text.
        last: After a text.
        mask: In the place of a hidden token.
        padding: Fills up a row.
    """

    first: int
    last: int
    mask: int
    padding: int


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `labels` as in `Numbered`, and examples with `tokens`, framed, and `text`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or null, a text is empty or a label unknown where the recipe refuses these, a
            split lacks a class, or a shard has changed.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    columns = {"preprocessing.text": settings.text, "preprocessing.label": settings.label}
    noted = row_notes.note(step, shards, columns, [settings.label], partial(_look, column=settings.text))
    rows = noted.rows
    # Of a text, all that matters here is whether it is empty.
    rows.columns[settings.text] = ["" if empty else "text" for empty in noted.notes["empty"].tolist()]
    rows, empty = labels.without_empty(rows, settings)
    rows, numbered, unknown = labels.number(rows, settings)
    in_memory.require_classes(numbered.labels, rows.splits, numbered.classes, "preprocessing.labelled")
    chosen = noted.where(rows)
    named = {"mask_token": MASK, "pad_token": PAD}
    folder, settled = the_tokenizer(
        step,
        settings.tokenizer.source,
        lambda folder: tokenizer.train(
            _training_texts(shards, chosen, settings.text), settings.tokenizer.vocab_size, folder, named
        ),
    )
    special = special_tokens(folder)
    content = weights.tokenizer_digest(folder)
    ends = (special.first, special.last)
    work = partial(_encode, folder=folder, content=content, settings=settings, ends=ends)
    encoded, new = streaming.encode(step, shards, chosen, work, content, UNREAD)
    arrays = {split: {"labels": numbered.labels[rows.splits == split]} for split in SPLITS}
    files = {f"tokenizer/{file.name}": file.read_bytes() for file in weights.tokenizer_files(folder)}
    info = {
        "classes": numbered.classes,
        "vocab_size": tokenizer.load(folder).get_vocab_size(with_added_tokens=True),
        "sequence_length": settings.sequence_length,
        "special": special._asdict(),
    }
    made = streaming.corpus(step, encoded, info, files, arrays)
    labelled = int((arrays["train"]["labels"] >= 0).sum())
    headline = made.headline + f"; {labelled:,} labelled"
    headline += f", {empty + unknown:,} left out" if empty + unknown else ""
    counts = {"labelled_examples": labelled, "left_out_empty": empty, "left_out_unknown_label": unknown}
    return replace(made, headline=headline, metrics=made.metrics | counts | {"new_shards": new}, same_for=settled)


def special_tokens(folder: Path) -> Special:
    """Return the special tokens by the names that BERT's tokenizers use or, where those are missing, by ours.

    Args:
        folder: The tokenizer's folder.

    Raises:
        UserError: The tokenizer lacks one.
    """
    named = given_tokenizer.named_tokens(folder)
    vocabulary = tokenizer.load(folder).get_vocab(with_added_tokens=True)

    def find(*names: str) -> int:
        """Return the id of the first of these tokens that the tokenizer knows."""
        for name in names:
            if named.get(name) in vocabulary:
                return int(vocabulary[named[name]])
        raise UserError(
            f"preprocessing.tokenizer.from: {folder / weights.TOKENIZER[1]} names no {names[0]} that the tokenizer "
            "knows; take the tokenizer of a BERT model, or leave `from` out"
        )

    return Special(
        first=find("cls_token", "bos_token"),
        last=find("sep_token", "eos_token"),
        mask=find("mask_token"),
        padding=find("pad_token"),
    )


def _look(piece: Piece, column: str) -> dict[str, np.ndarray]:
    """Note which rows have no text."""
    return {"empty": np.array([not str(text).strip() for text in piece.values(column)], bool)}


def _training_texts(validated: Validated, rows: list[ShardRows], column: str) -> Iterator[str]:
    for (shard, sha256), chosen in zip(validated, rows, strict=True):
        for piece in streaming.pieces(shard, sha256, chosen.of("train")):
            yield from map(str, piece.values(column))


def _encode(
    piece: Piece,
    writer: ShardedWriter,
    *,
    folder: Path,
    content: str,
    settings: TextPreprocessing,
    ends: tuple[int, int],
) -> dict[str, dict[str, int]]:
    """Write the tokens of texts, framed and cut, and the texts themselves."""
    encoder = tokenizer.kept(folder, content)
    dtype = packing.token_type(encoder.get_vocab_size(with_added_tokens=True))
    texts = [str(text) for text in piece.values(settings.text)]
    encodings = encoder.encode_batch_fast(texts, add_special_tokens=False)
    for split, identity, text, encoding in zip(piece.splits, piece.ids, texts, encodings, strict=True):
        tokens = np.array([ends[0], *encoding.ids[: settings.sequence_length - 2], ends[1]], dtype)
        writer.add(split, identity, {"tokens": tokens, "text": example_shards.of_text(text)})
    return {}
