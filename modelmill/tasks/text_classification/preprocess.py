"""Preprocessing of texts and labels into token arrays: split, fit the tokenizer on the training split, encode."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, in_memory, packing
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import given_tokenizer, tokenizer
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.corpus.text.resolve_tokenizer import the_tokenizer
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO, PretrainedModel
from modelmill.recipe.sections import TOKENIZER
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.text_classification import labels
from modelmill.tasks.text_classification.recipe import PretrainedEncoder, Recipe

MASK, PAD = "<|mask|>", "<|pad|>"


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


class Encoded(NamedTuple):
    """Texts as a model reads them.

    Attributes:
        arrays: Arrays over all rows, by name.
        info: What training has to know of them.
        files: What prepares an input in serving, too, by name.
        settled: What later runs take over; see `the_tokenizer`.
        cut: How many texts have lost their end, where that is counted.
    """

    arrays: dict[str, np.ndarray]
    info: dict[str, Any]
    files: dict[str, bytes]
    settled: dict[str, str] = {}
    cut: int = 0


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `tokens`, (rows, length), framed and padded, `labels` as in `Numbered`, `ids` and, where the
    tokenizer of a checkpoint has types of tokens, `types`.

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
    rows = in_memory.read(step, shards, {"preprocessing.text": settings.text, "preprocessing.label": settings.label})
    rows, empty = labels.without_empty(rows, settings)
    rows, numbered, unknown = labels.number(rows, settings)
    texts = [str(text) for text in rows.columns[settings.text]]
    if isinstance(recipe.model, PretrainedModel):
        encoded = _as_the_checkpoint(step, recipe, texts, numbered.classes)
    else:
        encoded = _as_trained(step, recipe, texts, rows.splits)
    in_memory.require_classes(numbered.labels, rows.splits, numbered.classes, "preprocessing.labelled")
    arrays = in_memory.by_split(rows, encoded.arrays | {"labels": numbered.labels})
    files = encoded.files | {f"texts/{split}.json": _of_split(texts, rows, split) for split in SPLITS}
    info = {"classes": numbered.classes, "sequence_length": settings.sequence_length, **encoded.info}
    made = in_memory.corpus(step, arrays, info, files)
    labelled = int((arrays["train"]["labels"] >= 0).sum())
    headline = made.headline + f"; {labelled:,} labelled"
    headline += f", {empty + unknown:,} left out" if empty + unknown else ""
    headline += f", {encoded.cut:,} cut" if encoded.cut else ""
    left_out = {"labelled_examples": labelled, "left_out_empty": empty, "left_out_unknown_label": unknown}
    cut = {"cut_texts": encoded.cut} if isinstance(recipe.model, PretrainedModel) else {}
    return replace(made, headline=headline, metrics=made.metrics | left_out | cut, same_for=encoded.settled)


def _as_trained(step: Step, recipe: Recipe, texts: list[str], splits: np.ndarray) -> Encoded:
    """Return texts for a model of our own: between two special tokens, padded to one length."""
    settings = recipe.preprocessing
    training = (text for text, split in zip(texts, splits, strict=True) if split == "train")
    named = {"mask_token": MASK, "pad_token": PAD}
    folder, settled = the_tokenizer(
        step,
        settings.tokenizer.source,
        lambda folder: tokenizer.train(training, settings.tokenizer.vocab_size, folder, named),
    )
    special = special_tokens(folder)
    tokens, size = _encode(folder, texts, settings.sequence_length, special)
    files = {f"tokenizer/{file.name}": file.read_bytes() for file in weights.tokenizer_files(folder)}
    return Encoded({"tokens": tokens}, {"vocab_size": size, "special": special._asdict()}, files, settled)


def _as_the_checkpoint(step: Step, recipe: Recipe, texts: list[str], classes: list[str]) -> Encoded:
    """Return texts for the network of a checkpoint, whose labels must not contradict the data's."""
    settings = recipe.preprocessing
    assert settings.tokenizer.source is not None
    folder = checkpoint.the_checkpoint(step, TOKENIZER, settings.tokenizer.source)
    where = f"{TOKENIZER}: {settings.tokenizer.source}"
    config = weights.read_json(where, folder / weights.CONFIG)
    checkpoint.agreed_labels(where, config, PretrainedEncoder.heads[0], classes)
    return rendered(folder, texts, settings.sequence_length)


def rendered(folder: Path, texts: list[str], length: int) -> Encoded:
    """Return texts as a checkpoint's own tokenizer renders them, padded to the longest.

    Args:
        folder: The checkpoint's description, as `checkpoint.the_checkpoint` gives it.
        texts: The texts.
        length: The most tokens of a text.

    Raises:
        UserError: The tokenizer cannot be used.
    """
    own = OwnTokenizer(folder, length)
    has_types, every = own.has_types(texts), own.render(texts)
    longest = max(len(one.ids) for one in every)
    tokens = np.full((len(texts), longest), own.padding, packing.token_type(own.size))
    types = np.zeros((len(texts), longest), np.uint8)
    for number, one in enumerate(every):
        tokens[number, : len(one.ids)], types[number, : len(one.ids)] = one.ids, one.types
    has_types = has_types and bool(types.any())  # of zeros alone, a model takes what it takes without
    info = {"model": AUTO, "vocab_size": own.size, "special": {"padding": own.padding}, "types": has_types}
    arrays = {"tokens": tokens} | ({"types": types} if has_types else {})
    return Encoded(arrays, info, checkpoint.files(folder), cut=sum(one.is_cut for one in every))


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


def _encode(folder: Path, texts: list[str], length: int, special: Special) -> tuple[np.ndarray, int]:
    """Return framed and padded ids, (texts, length), and the size of the vocabulary."""
    encoder = tokenizer.load(folder)
    size = encoder.get_vocab_size(with_added_tokens=True)
    tokens = np.full((len(texts), length), special.padding, packing.token_type(size))
    for row, encoded in zip(tokens, encoder.encode_batch_fast(texts, add_special_tokens=False), strict=True):
        ids = [special.first, *encoded.ids[: length - 2], special.last]
        row[: len(ids)] = ids
    return tokens, size


def _of_split(texts: list[str], rows: AllRows, split: str) -> bytes:
    chosen = [text for text, its in zip(texts, rows.splits, strict=True) if its == split]
    return json.dumps(chosen, ensure_ascii=False).encode()
