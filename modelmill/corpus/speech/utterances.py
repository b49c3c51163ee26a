"""Recordings with transcripts: read, checked against what can be learned from, kept as samples and characters."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import corpora, in_memory, media
from modelmill.corpus.speech.settings import SpeechPreprocessing
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step

Row = tuple[np.ndarray, str]


def preprocess(step: Step, validated: list[tuple[Shard, str]], frame_seconds: float) -> Made:
    """Return the corpus of recordings and transcripts.

    Each split of each corpus has `ids`, the `samples` (int16) of all its recordings one after the other, and `labels`
    (uint16), which number the characters of `info["alphabet"]`, with `sample_offsets` and `label_offsets`.

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
    rows = in_memory.read(
        step, validated, columns | ({"preprocessing.fine_tune_on.column": chosen.column} if chosen else {})
    )
    texts = [tidied(text, settings.lowercase) for text in rows.columns[settings.transcript]]
    in_training = {c for text, split in zip(texts, rows.splits, strict=True) if split == "train" for c in text}
    alphabet = settings.alphabet or "".join(sorted(in_training))
    spoken: list[Row | None] = []
    sounds = media.recordings(rows.files, settings.sample_rate, settings.resample)
    for file, text, sound in zip(rows.files, texts, sounds, strict=True):
        step.progress(len(spoken), len(texts), "recordings")
        why = _unusable(len(sound) / settings.sample_rate, text, alphabet, settings.max_seconds, frame_seconds)
        if why and settings.unusable == "refuse":
            where = f"{file.shard.path}: {file.name}"
            raise UserError(
                f"preprocessing.unusable: {where}: {why}; mend it or leave such rows out: "
                "--set preprocessing.unusable=drop"
            )
        pcm = (sound * (1 << 15)).round().clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)
        spoken.append(None if why else (pcm, text))
    is_used = np.array([one is not None for one in spoken])
    arrays: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
    sizes: dict[str, dict[str, int]] = {}
    for name, members in corpora.members(rows, chosen).items():
        for split in SPLITS:
            kept = np.flatnonzero(members & is_used & (rows.splits == split))
            corpora.require(len(kept), "recording", name, split, rows, chosen)
            packed = pack([one for number in kept if (one := spoken[number])], alphabet)
            arrays[split] |= {f"{name}/ids": rows.ids[kept]}
            arrays[split] |= {f"{name}/{kind}": array for kind, array in packed.items()}
            sizes.setdefault(name, {})[split] = len(kept)
    info: dict[str, Any] = {"corpora": sizes, "alphabet": alphabet, "held_out": settings.held_out}
    info |= {"sample_rate": settings.sample_rate, "lowercase": settings.lowercase}
    dropped = int((~is_used).sum())
    headline = "; ".join(f"{name}: {of['train']:,} training, {of['test']:,} test" for name, of in sizes.items())
    return replace(
        in_memory.corpus(step, arrays, info),
        headline=headline + (f"; {dropped:,} left out" if dropped else ""),
        metrics={f"{name}_{split}_recordings": size for name, of in sizes.items() for split, size in of.items()}
        | {"left_out_recordings": dropped},
    )


def tidied(text: object, lowercase: bool) -> str:
    """Return the transcript with one space between words and none around them."""
    words = " ".join(str(text).split())
    return words.lower() if lowercase else words


def pack(spoken: list[Row], alphabet: str) -> dict[str, np.ndarray]:
    """Return samples and transcripts as arrays; see `preprocess`."""
    numbers = {character: number for number, character in enumerate(alphabet)}
    labels = [np.array([numbers[character] for character in text], np.uint16) for _, text in spoken]
    return {
        "samples": np.concatenate([samples for samples, _ in spoken]),
        "sample_offsets": np.cumsum([0, *(len(samples) for samples, _ in spoken)], dtype=np.int64),
        "labels": np.concatenate(labels),
        "label_offsets": np.cumsum([0, *map(len, labels)], dtype=np.int64),
    }


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
