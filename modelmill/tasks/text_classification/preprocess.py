"""Preprocessing of texts and labels into token arrays: split, fit the tokenizer on the training split, encode."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from modelmill.core import digest
from modelmill.corpus import checkpoint, in_memory, row_notes, streaming
from modelmill.corpus.row_notes import Piece, ShardRows, Validated
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import tokenizer
from modelmill.corpus.text.own_rendering import COMPARED
from modelmill.corpus.text.resolve_tokenizer import the_tokenizer
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO, PretrainedModel
from modelmill.recipe.sections import TOKENIZER
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.text_classification import kinds, label_values, labels, rendering
from modelmill.tasks.text_classification.recipe import PretrainedEncoder, Recipe, TextPreprocessing
from modelmill.tasks.text_classification.rendering import Framing, OwnRendering, Renderer, Texts, special_tokens

MASK, PAD = "<|mask|>", "<|pad|>"
# Settings that change no text's tokens.
UNREAD = frozenset({"labels", "label", "label_kind", "labelled", "unknown_label", "empty_text"})


class Way(NamedTuple):
    """How texts become tokens.

    Attributes:
        renderer: Renders them.
        fitted: Digest of what it is made from.
        info: What training has to know of it.
        files: What prepares an input in serving, too, by name.
        has_types: Whether the model takes types of tokens.
        settled: What later runs take over; see `the_tokenizer`.
    """

    renderer: Renderer
    fitted: str
    info: dict[str, Any]
    files: dict[str, bytes]
    has_types: bool
    settled: dict[str, str] = {}


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `labels` as `kinds.is_labelled` has them, and examples as `rendering.encode` writes them.

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
    texts = columns_of(settings)
    columns = {"preprocessing.text": settings.text, "preprocessing.label": settings.label}
    columns |= {"preprocessing.text_pair": settings.text_pair} if settings.text_pair else {}
    noted = row_notes.note(step, shards, columns, [settings.label], partial(_look, columns=texts))
    rows = noted.rows
    # Of a text, all that matters here is whether it is empty.
    rows.columns[settings.text] = ["" if empty else "text" for empty in noted.notes["empty"].tolist()]
    rows, empty = labels.without_empty(rows, settings)
    rows, its, unknown = label_values.of_rows(rows, settings)
    if settings.label_kind == kinds.SINGLE:
        in_memory.require_classes(its.values, rows.splits, its.classes, "preprocessing.labelled")
    chosen = noted.where(rows)
    way = _given(step, recipe, shards, chosen, its) if _is_given(recipe) else _trained(step, recipe, shards, chosen)
    work = partial(rendering.encode, renderer=way.renderer, columns=texts, has_types=way.has_types)
    encoded, new = streaming.encode(step, shards, chosen, work, way.fitted, UNREAD)
    arrays = {split: {"labels": its.values[rows.splits == split]} for split in SPLITS}
    info = {**its.info, "label_kind": settings.label_kind, "text_pair": bool(settings.text_pair)}
    info |= {"vocab_size": way.renderer.size(), "sequence_length": settings.sequence_length, **way.info}
    made = streaming.corpus(step, encoded, info, way.files, arrays)
    counts = {
        "labelled_examples": int(kinds.is_labelled(arrays["train"]["labels"]).sum()),
        "left_out_empty": empty,
        "left_out_unknown_label": unknown,
    } | ({"cut_texts": streaming.count(encoded, "all", "cut")} if _is_given(recipe) else {})
    headline = made.headline + f"; {counts['labelled_examples']:,} labelled"
    headline += f", {empty + unknown:,} left out" if empty + unknown else ""
    headline += f", {counts['cut_texts']:,} cut" if counts.get("cut_texts") else ""
    return replace(made, headline=headline, metrics=made.metrics | counts | {"new_shards": new}, same_for=way.settled)


def columns_of(settings: TextPreprocessing) -> tuple[str, ...]:
    """Return the columns with texts, one or two."""
    return (settings.text, settings.text_pair) if settings.text_pair else (settings.text,)


def _is_given(recipe: Recipe) -> bool:
    return isinstance(recipe.model, PretrainedModel)


def _look(piece: Piece, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Note which rows lack a text."""
    are_empty = [[not str(text).strip() for text in piece.values(name)] for name in columns]
    return {"empty": np.asarray(np.array(are_empty, bool).any(axis=0))}


def _trained(step: Step, recipe: Recipe, shards: Validated, rows: list[ShardRows]) -> Way:
    """Return the way of a model of our own: between two special tokens."""
    settings = recipe.preprocessing
    named = {"mask_token": MASK, "pad_token": PAD}
    training = (text for texts in _texts(shards, [one.of("train") for one in rows], settings) for text in texts)
    folder, settled = the_tokenizer(
        step,
        settings.tokenizer.source,
        lambda folder: tokenizer.train(training, settings.tokenizer.vocab_size, folder, named),
    )
    special, content = special_tokens(folder), weights.tokenizer_digest(folder)
    files = {f"tokenizer/{file.name}": file.read_bytes() for file in weights.tokenizer_files(folder)}
    renderer = Framing(folder, content, settings.sequence_length, special)
    return Way(renderer, content, {"special": special._asdict()}, files, settings.text_pair is not None, settled)


def _given(step: Step, recipe: Recipe, shards: Validated, rows: list[ShardRows], its: label_values.Labels) -> Way:
    """Return the way of a checkpoint, whose labels must not contradict the data's."""
    settings = recipe.preprocessing
    assert settings.tokenizer.source is not None
    folder = checkpoint.the_checkpoint(step, TOKENIZER, settings.tokenizer.source)
    where = f"{TOKENIZER}: {settings.tokenizer.source}"
    config = weights.read_json(where, folder / weights.CONFIG)
    agreed = checkpoint.agreed_labels(where, config, PretrainedEncoder.heads[0], its.classes)
    renderer = OwnRendering(folder, settings.sequence_length)
    has_types = renderer.has_types(list(islice(_texts(shards, rows, settings), 4 * COMPARED)))
    files = checkpoint.files(folder)
    info = {"model": AUTO, "special": {"padding": renderer.padding()}, "types": has_types}
    if agreed and its.scale and "label_scale" in config:
        info["label_scale"] = config["label_scale"]  # of the head that is kept
    content = digest.of_json({name: digest.of_bytes(data) for name, data in files.items()})
    return Way(renderer, content, info, files, has_types)


def _texts(validated: Validated, rows: list[ShardRows], settings: TextPreprocessing) -> Iterator[Texts]:
    """Yield the texts, or pairs of texts, of some rows."""
    for (shard, sha256), chosen in zip(validated, rows, strict=True):
        for piece in streaming.pieces(shard, sha256, chosen):
            yield from zip(*(map(str, piece.values(name)) for name in columns_of(settings)), strict=True)
