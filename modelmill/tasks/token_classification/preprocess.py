"""Preprocessing of words and tags into pieces with labels, shard by shard."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import checkpoint, processes
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.shard_cache import Encoded, ShardCache
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import tokenizer
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.data.shard import Shard
from modelmill.recipe.pretrained import AUTO
from modelmill.recipe.sections import TOKENIZER
from modelmill.runtime.step_runtime import Made, Step
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.tasks.token_classification import bio, rows, windows
from modelmill.tasks.token_classification.recipe import Recipe, TaggingPreprocessing

Shards = list[tuple[Shard, str]]


class Fitted(NamedTuple):
    """What every shard is encoded with.

    Attributes:
        folder: Folder with the checkpoint's configuration and tokenizer.
        padding: Id of the token that fills up a row.
        kinds: Kinds of entities.
        counts: Entities by split and kind.
        new: How many shards were read for it.
    """

    folder: Path
    padding: int
    kinds: list[str]
    counts: dict[str, Counter[str]]
    new: int


def preprocess(step: Step, shards: Shards) -> Made:
    """Return the corpus: of each split `ids`, and of each window of a text the arrays of `encode_shard`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: See `rows.read`; or a split has no texts, or training none of a kind of entity.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    known = fit(step, shards)
    encoded, _ = encode(step, shards, known, range(len(shards)))
    counts = {split: _added(one.counts.get(split, {}) for one in encoded) for split in SPLITS}
    for split in SPLITS:
        if not counts[split]["examples"]:
            fraction = "validation or .test" if split == "train" else split
            raise UserError(f"preprocessing.{fraction}: no text is in the {split} split; change it, or add data")
    files = checkpoint.files(known.folder)
    entries = [manifest.add_bytes(step.store, data, name) for name, data in files.items()]
    entries += [entry for number, one in enumerate(encoded) for entry in one.numbered(number)]
    corpus = Manifest(
        kind="corpus",
        entries=entries,
        made_from=step.digests,
        info={
            "task": recipe.task,
            "model": AUTO,
            "classes": bio.classes(known.kinds),
            "sequence_length": settings.sequence_length,
            "words": settings.words,
            "special": {"padding": known.padding},
            "splits": {split: dict(counts[split]) for split in SPLITS},
            "entities": {split: {kind: known.counts[split][kind] for kind in known.kinds} for split in SPLITS},
            "held_out": settings.held_out,
        },
    )
    return Made(
        outputs={"corpus": corpus},
        headline=_headline(counts, known),
        metrics={f"{split}_{name}": count for split in SPLITS for name, count in counts[split].items()}
        | {"new_shards": known.new},
    )


def fit(step: Step, shards: Shards) -> Fitted:
    """Return the checkpoint's folder and the kinds of entities, of all shards.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: See `preprocess`.
    """
    assert isinstance(step.recipe, Recipe)
    settings = step.recipe.preprocessing
    assert settings.given_checkpoint is not None
    folder = checkpoint.the_checkpoint(step, TOKENIZER, settings.given_checkpoint)
    padding = _padding(folder, settings, rows.read(*shards[0], settings))
    cache = ShardCache(step, "kinds", frozenset({"sequence_length", "words", "entities"}))
    found = {sha256: cache.find(sha256) for _, sha256 in shards}
    new = [(shard, sha256) for shard, sha256 in shards if found[sha256] is None]
    made = processes.each(count_shard, [(shard, sha256, settings) for shard, sha256 in new])
    for done, ((_, sha256), counts) in enumerate(zip(new, made, strict=True)):
        found[sha256] = cache.keep(sha256, {}, counts)
        step.progress(done, 2 * len(new), "reading")
    by_shard = [one.counts for _, sha256 in shards if (one := found[sha256])]
    totals = {split: _added(counts.get(split, {}) for counts in by_shard) for split in SPLITS}
    return Fitted(folder, padding, _kinds(totals, settings), totals, len(new))


def _padding(folder: Path, settings: TaggingPreprocessing, some: list[rows.Tagged]) -> int:
    """Return the id of the token that fills up a row, comparing some texts with those of transformers.

    Raises:
        UserError: The tokenizer's class renders them in another way, or gives types to tokens of a single text.
    """
    own = OwnTokenizer(folder, settings.sequence_length)
    has_types = own.has_types([" ".join(text.words) for text in some])
    if has_types and any(own.render(["a"])[0].types):
        raise UserError(
            f"{TOKENIZER}: {settings.given_checkpoint}: its tokenizer gives the tokens of a text types, which this "
            "task does not pass on; take another model"
        )
    return own.padding


def count_shard(shard: Shard, sha256: str, settings: TaggingPreprocessing) -> dict[str, dict[str, int]]:
    """Return how many entities of each kind a shard has, by split and kind.

    Args:
        shard: The shard.
        sha256: The sha256 that was validated.
        settings: The recipe's section.
    """
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    for text in rows.read(shard, sha256, settings):
        counts[text.split].update(entity.kind for entity in bio.entities(text.tags))
    return {split: dict(kinds) for split, kinds in counts.items()}


def _kinds(counts: dict[str, Counter[str]], settings: TaggingPreprocessing) -> list[str]:
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


def encode(step: Step, shards: Shards, known: Fitted, which: range) -> tuple[list[Encoded], int]:
    """Return the arrays of some shards, in order, and how many of them were not encoded before.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
        known: What `fit` has returned.
        which: Numbers of the shards to encode.
    """
    assert isinstance(step.recipe, Recipe)
    settings = step.recipe.preprocessing
    tokenizer_file = known.folder / "tokenizer.json"
    cache = ShardCache(step, digest.of_json([digest.of_file(tokenizer_file), known.kinds]), frozenset({"words"}))
    chosen = [shards[number] for number in which]
    found = {sha256: cache.find(sha256) for _, sha256 in chosen}
    new = [(shard, sha256) for shard, sha256 in chosen if found[sha256] is None]
    jobs = [(shard, sha256, settings, known.folder, known.kinds, step.scratch / sha256) for shard, sha256 in new]
    made = processes.each(encode_shard, jobs)
    for done, ((_, sha256), (files, counts)) in enumerate(zip(new, made, strict=True)):
        found[sha256] = cache.keep(sha256, files, counts)
        step.progress(len(new) + done, 2 * len(new), "encoding")
    return [one for _, sha256 in chosen if (one := found[sha256])], len(new)


def encode_shard(
    shard: Shard, sha256: str, settings: TaggingPreprocessing, folder: Path, kinds: list[str], target: Path
) -> tuple[dict[str, Path], dict[str, dict[str, int]]]:
    """Write the windows of a shard's texts, and return the files by name and counts by split.

    A window has `tokens`, int32, (tokens,), `places` and `tags`, int32 and int16, (words,), as `Window` and numbers of
    `bio.classes`; and `words`, uint8, JSON. `first`, int32, is the number of its first word in the text: a window with
    0 begins a text.

    Args:
        shard: The shard.
        sha256: The sha256 that was validated.
        settings: The recipe's section.
        folder: Folder with the tokenizer.
        kinds: Kinds of entities.
        target: Folder to write into.
    """
    encoder, numbers = tokenizer.load(folder), {tag: number for number, tag in enumerate(bio.classes(kinds))}
    counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    with ShardedWriter(target) as writer:
        for text in rows.read(shard, sha256, settings):
            tags = [numbers[tag] for tag in bio.without_other(text.tags, kinds)]
            made = windows.windows(encoder, text.words, settings.sequence_length)
            for window in made:
                part = slice(window.first, window.first + len(window.places))
                writer.add(text.split, text.id, _arrays(window, tags[part], text.words[part]))
            unseen = sum(place < 0 for window in made for place in window.places)
            counts[text.split].update(
                examples=len(made), texts=1, words=len(tags), split_texts=len(made) > 1, words_without_tokens=unseen
            )
    return writer.files(), {split: dict(one) for split, one in counts.items()}


def _arrays(window: windows.Window, tags: list[int], words: list[str]) -> dict[str, np.ndarray]:
    return {
        "tokens": np.array(window.ids, np.int32),
        "places": np.array(window.places, np.int32),
        "tags": np.array(tags, np.int16),
        "words": np.frombuffer(json.dumps(words, ensure_ascii=False).encode(), np.uint8),
        "first": np.array(window.first, np.int32),
    }


def _added(counts: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total


def _headline(counts: dict[str, Counter[str]], known: Fitted) -> str:
    said = ", ".join(f"{counts[split]['texts']:,} {split}" for split in SPLITS)
    said += f"; {len(known.kinds)} kinds of entities"
    whole = _added(counts.values())
    for name, words in (("split_texts", "longer texts split"), ("words_without_tokens", "words without a token")):
        said += f", {whole[name]:,} {words}" if whole[name] else ""
    return said
