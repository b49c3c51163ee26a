"""Recordings with transcripts: read, checked against what can be learned from, kept as samples and characters."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import corpora, media, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.row_notes import Piece
from modelmill.corpus.speech.settings import SpeechPreprocessing
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step


def preprocess(step: Step, validated: list[tuple[Shard, str]], frame_seconds: float) -> Made:
    """Return the corpus of recordings and transcripts.

    Each split of each corpus has examples with `samples`, int16, and `labels`, uint16, which number the characters of
    `info["alphabet"]`.

    Args:
        step: The running step.
        validated: The dataset's shards, each with the sha256 that was validated.
        frame_seconds: The least duration of a character; one that repeats the one before takes twice that.

    Raises:
        UserError: A column is missing or null, a recording has another rate or a row cannot be learned from where the
            recipe refuses these, or a corpus has no recording in a split.
    """
    settings = step.recipe.preprocessing
    assert isinstance(settings, SpeechPreprocessing)
    chosen = settings.fine_tune_on
    columns = {"preprocessing.transcript": settings.transcript}
    columns |= {"preprocessing.fine_tune_on.column": chosen.column} if chosen else {}
    named = [chosen.column] if chosen else []
    noted = row_notes.note(step, validated, columns, named, partial(_look, settings=settings))
    alphabet = settings.alphabet or "".join(map(chr, np.unique(noted.notes["characters"]).tolist()))
    fitted = digest.of_json([alphabet, frame_seconds])
    work = partial(_encode, settings=settings, alphabet=alphabet, frame_seconds=frame_seconds)
    encoded, new = streaming.encode(step, validated, noted.shards, work, fitted)
    sizes: dict[str, dict[str, int]] = {}
    for name in corpora.members(noted.rows, chosen):
        sizes[name] = {split: streaming.count(encoded, f"{split}/{name}", "examples") for split in SPLITS}
        for split, size in sizes[name].items():
            corpora.require(size, "recording", name, split, noted.rows, chosen, settings)
    info: dict[str, Any] = {"corpora": sizes, "alphabet": alphabet, "held_out": settings.held_out}
    info |= {"sample_rate": settings.sample_rate, "lowercase": settings.lowercase}
    made = streaming.corpus(step, encoded, info, folder=next(iter(sizes)))
    dropped = streaming.count(encoded, "all", "left_out")
    headline = "; ".join(f"{name}: {of['train']:,} training, {of['test']:,} test" for name, of in sizes.items())
    return replace(
        made,
        headline=headline + (f"; {dropped:,} left out" if dropped else ""),
        metrics={f"{name}_{split}_recordings": size for name, of in sizes.items() for split, size in of.items()}
        | {"left_out_recordings": dropped, "new_shards": new},
    )


def _look(piece: Piece, settings: SpeechPreprocessing) -> dict[str, np.ndarray]:
    """Note the characters of training transcripts, each once."""
    texts = zip(piece.values(settings.transcript), piece.splits, strict=True)
    found = {ord(one) for text, split in texts if split == "train" for one in tidied(text, settings.lowercase)}
    return {"characters": np.array(sorted(found), np.uint32)}


def _encode(
    piece: Piece, writer: ShardedWriter, *, settings: SpeechPreprocessing, alphabet: str, frame_seconds: float
) -> dict[str, dict[str, int]]:
    """Write recordings and the numbers of their transcripts' characters; return how many rows are left out."""
    numbers = {character: number for number, character in enumerate(alphabet)}
    texts = [tidied(text, settings.lowercase) for text in piece.values(settings.transcript)]
    names = corpora.names(piece.values, settings.fine_tune_on, len(texts))
    sounds = media.recordings(piece.files, settings.sample_rate, settings.resample)
    left_out = 0
    for place, (file, text, sound) in enumerate(zip(piece.files, texts, sounds, strict=True)):
        why = _unusable(len(sound) / settings.sample_rate, text, alphabet, settings.max_seconds, frame_seconds)
        if why and settings.unusable == "refuse":
            where = f"{file.shard.path}: {file.name}"
            raise UserError(
                f"preprocessing.unusable: {where}: {why}; mend it or leave such rows out: "
                "--set preprocessing.unusable=drop"
            )
        if why:
            left_out += 1
            continue
        samples = (sound * (1 << 15)).round().clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)
        labels = np.array([numbers[character] for character in text], np.uint16)
        values = {"samples": samples, "labels": labels}
        writer.add(f"{piece.splits[place]}/{names[place]}", piece.ids[place], values)
    return {"all": {"left_out": left_out}}


def tidied(text: object, lowercase: bool) -> str:
    """Return the transcript with one space between words and none around them."""
    words = " ".join(str(text).split())
    return words.lower() if lowercase else words


def _unusable(seconds: float, text: str, alphabet: str, longest: float, frame_seconds: float) -> str:
    """Return why a row cannot be learned from, or an empty text."""
    if not text:
        return "its transcript is empty"
    if unknown := [character for character in text if character not in alphabet]:
        return f"its transcript has {unknown[0]!r}, which is not in the alphabet {alphabet!r}"
    if seconds > longest:
        return f"it lasts {seconds:.1f} s, more than preprocessing.max_seconds ({longest:g} s)"
    needed = (len(text) + sum(a == b for a, b in pairwise(text))) * frame_seconds
    if seconds < needed:
        return f"it lasts {seconds:.2f} s, too short for the {len(text)} characters of its transcript"
    return ""
