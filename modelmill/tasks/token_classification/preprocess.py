"""Preprocessing of words and tags into tokens with labels, shard by shard."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, in_memory, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.row_notes import Piece, ShardRows, Validated
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import tokenizer
from modelmill.corpus.text.own_rendering import COMPARED, OwnTokenizer
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.sections import TOKENIZER
from modelmill.runtime import weights
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.token_classification import bio, rows, windows
from modelmill.tasks.token_classification.recipe import PretrainedTagger, Recipe, TaggingPreprocessing

# Settings that change nothing of how rows are encoded.
UNREAD = frozenset({"words", "entities"})


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus: of each window of a text the arrays of `write_windows`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: See `rows.tagged`; or a column is missing or null, a split has no texts or no entities, or training
            has none of a kind.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    columns = {"preprocessing.tokens": settings.tokens, "preprocessing.tags": settings.tags}
    noted = row_notes.note(step, shards, columns, (), partial(look, settings=settings))
    counts = _counts(noted.notes)
    kinds = kinds_of(counts, settings)
    has_words = noted.notes["words"] > 0
    chosen = noted.where(in_memory.chosen(noted.rows, has_words))
    folder = _checkpoint(step, settings, kinds)
    padding = _padding(folder, settings, shards, chosen)
    content = weights.tokenizer_digest(folder)
    work = partial(write_windows, folder=folder, content=content, settings=settings, kinds=kinds)
    fitted = digest.of_json([content, kinds])
    encoded, new = streaming.encode(step, shards, chosen, work, fitted, UNREAD)
    info = {
        "model": AUTO,
        "classes": bio.classes(kinds),
        "sequence_length": settings.sequence_length,
        "words": settings.words,
        "special": {"padding": padding},
        "entities": {split: {kind: counts[split][kind] for kind in kinds} for split in SPLITS},
        "words_of": {split: streaming.count(encoded, split, "words") for split in SPLITS},
    }
    made = streaming.corpus(step, encoded, info, checkpoint.files(folder))
    more = {name: streaming.count(encoded, "all", name) for name in ("split_texts", "words_without_tokens")}
    more["left_out_empty"] = int((~has_words).sum())
    said = {"split_texts": "longer texts split", "words_without_tokens": "words without a token"}
    said["left_out_empty"] = "texts without words left out"
    headline = made.headline + f"; {len(kinds)} kinds of entities"
    headline += "".join(f", {more[name]:,} {words}" for name, words in said.items() if more[name])
    return replace(made, headline=headline, metrics=made.metrics | more | {"new_shards": new})


def look(piece: Piece, settings: TaggingPreprocessing) -> dict[str, np.ndarray]:
    """Note how many words each row has, and how many entities of each kind there are in each split.

    Args:
        piece: Some rows.
        settings: The recipe's section.
    """
    counts: Counter[tuple[int, str]] = Counter()
    words = []
    for split, text in zip(piece.splits, rows.tagged(piece, settings), strict=True):
        words.append(len(text.words))
        counts.update((SPLITS.index(split), entity.kind) for entity in bio.entities(text.tags))
    return {
        "words": np.array(words, np.int32),
        "kinds": np.array([kind for _, kind in counts], dtype=np.str_),
        "kinds_in": np.array([split for split, _ in counts], np.uint8),
        "kinds_count": np.array(list(counts.values()), np.int64),
    }


def _counts(notes: dict[str, np.ndarray]) -> dict[str, Counter[str]]:
    """Return how many entities of each kind there are, by split."""
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    noted = (notes[name].tolist() for name in ("kinds_in", "kinds", "kinds_count"))
    for split, kind, count in zip(*noted, strict=True):
        counts[SPLITS[split]][kind] += count
    return counts


def kinds_of(counts: dict[str, Counter[str]], settings: TaggingPreprocessing) -> list[str]:
    """Return the kinds of entities that the model finds.

    Args:
        counts: How many there are of each kind, by split.
        settings: The recipe's section.

    Raises:
        UserError: Training has none of a kind, or a split has none of all.
    """
    wanted = settings.entities or sorted(counts["train"])
    if lacking := sorted(kind for kind in wanted if not counts["train"][kind]):
        raise UserError(
            f"preprocessing.entities: no training row has an entity of the kind {lacking[0]!r}; those that there are: "
            f"{', '.join(sorted(counts['train'])) or 'none'}"
        )
    if not wanted:
        raise UserError(
            f"preprocessing.tags: no training row has an entity in column {settings.tags!r}: there is nothing to learn"
        )
    for split in SPLITS:
        if settings.entities is None and (strange := sorted(set(counts[split]) - set(wanted))):
            raise UserError(
                f"preprocessing.tags: entities of the kind {strange[0]!r} are in the {split} split and not in the "
                f"training rows; add data, or list the kinds that are to be found in preprocessing.entities: {wanted}"
            )
        if not any(counts[split][kind] for kind in wanted):
            raise UserError(
                f"preprocessing.{split}: no entity is in the {split} split; raise preprocessing.{split}, or add data"
            )
    return sorted(wanted)


def write_windows(
    piece: Piece, writer: ShardedWriter, *, folder: Path, content: str, settings: TaggingPreprocessing, kinds: list[str]
) -> dict[str, dict[str, int]]:
    """Write the windows of texts, and count.

    A window has `tokens`, int32, (tokens,), `places` and `tags`, int32 and int16, (words,), as `Window` and numbers of
    `bio.classes`; and `words`, uint8, JSON. `first`, int32, is the number of its first word in the text: a window with
    0 begins a text.

    Args:
        piece: Some rows.
        writer: Takes the windows.
        folder: Folder with the tokenizer.
        content: Digest of the tokenizer.
        settings: The recipe's section.
        kinds: Kinds of entities.
    """
    encoder = tokenizer.kept(folder, content)
    numbers = {tag: number for number, tag in enumerate(bio.classes(kinds))}
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*SPLITS, "all")}
    for split, identity, text in zip(piece.splits, piece.ids, rows.tagged(piece, settings), strict=True):
        tags = [numbers[tag] for tag in bio.without_other(text.tags, kinds)]
        made = windows.windows(encoder, text.words, settings.sequence_length)
        for window in made:
            part = slice(window.first, window.first + len(window.places))
            writer.add(split, identity, _arrays(window, tags[part], text.words[part]))
        counts[split]["words"] += len(tags)
        unseen = sum(place < 0 for window in made for place in window.places)
        counts["all"].update(split_texts=len(made) > 1, words_without_tokens=unseen)
    return {name: dict(its) for name, its in counts.items()}


def _arrays(window: windows.Window, tags: list[int], words: list[str]) -> dict[str, np.ndarray]:
    return {
        "tokens": np.array(window.ids, np.int32),
        "places": np.array(window.places, np.int32),
        "tags": np.array(tags, np.int16),
        "words": np.frombuffer(json.dumps(words, ensure_ascii=False).encode(), np.uint8),
        "first": np.array(window.first, np.int32),
    }


def _checkpoint(step: Step, settings: TaggingPreprocessing, kinds: list[str]) -> Path:
    """Return the description of the checkpoint, whose labels must not contradict the data's."""
    assert settings.given_checkpoint is not None
    folder = checkpoint.the_checkpoint(step, TOKENIZER, settings.given_checkpoint)
    where = f"{TOKENIZER}: {settings.given_checkpoint}"
    config = weights.read_json(where, folder / weights.CONFIG)
    checkpoint.agreed_labels(where, config, PretrainedTagger.heads[0], bio.classes(kinds))
    return folder


def _padding(folder: Path, settings: TaggingPreprocessing, shards: Validated, chosen: list[ShardRows]) -> int:
    """Return the id of the token that fills up a row, comparing some texts with those of transformers.

    Raises:
        UserError: The tokenizer's class renders them in another way, or gives types to tokens of a single text.
    """
    own = OwnTokenizer(folder, settings.sequence_length)
    pieces = (piece for one, its in zip(shards, chosen, strict=True) for piece in streaming.pieces(*one, its))
    texts = (" ".join(text.words) for piece in pieces for text in rows.tagged(piece, settings))
    has_types = own.has_types(list(islice(texts, 4 * COMPARED)))
    if has_types and any(own.render(["a"])[0].types):
        raise UserError(
            f"{TOKENIZER}: {settings.given_checkpoint}: its tokenizer gives the tokens of a text types, which this "
            "task does not pass on; take another model"
        )
    return own.padding
