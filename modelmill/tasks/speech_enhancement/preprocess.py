"""Preprocessing of noisy and clean recordings into samples, each noisy one beside its clean one."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import media, row_notes, streaming
from modelmill.corpus.example_shards import ShardedWriter
from modelmill.corpus.media import File
from modelmill.corpus.row_notes import Noted, Piece, Validated
from modelmill.corpus.split import SPLITS, key_of
from modelmill.data.media.finding import FILE
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.speech_enhancement.recipe import EnhancementPreprocessing, Recipe

NOISY, CLEAN = "noisy", "clean"
# A clean recording whose amplitude stays below this, -60 dB, is silent.
SILENCE = 1e-3
SHORTEST = 0.1  # seconds


class Recording(NamedTuple):
    """What is known of a recording.

    Attributes:
        split: Name of its split.
        sha256: Digest of its file.
    """

    split: str
    sha256: str


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `noisy` (pairs) and `clean` (single recordings), whose examples have `samples`, int16; pairs have
    `targets` as well, the clean samples of the same times.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.

    Raises:
        UserError: A column is missing or null, a recording has another rate or a row is unusable where the recipe
            refuses these, or a split has no pairs.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.preprocessing
    noted = row_notes.note(step, shards, {"preprocessing.clean": settings.clean}, [FILE])
    work = partial(_encode, settings=settings, known=_recordings(shards, noted))
    encoded, new = streaming.encode(step, shards, noted.shards, work, "pairs")
    for split in SPLITS:
        _require(settings, split, streaming.count(encoded, f"{split}/{NOISY}", "examples"))
    made = streaming.corpus(step, encoded, {"sample_rate": settings.sample_rate}, folder=NOISY)
    dropped = streaming.count(encoded, "all", "left_out")
    clean = streaming.count(encoded, f"train/{CLEAN}", "examples")
    headline = f"{made.headline} pairs; {clean:,} clean ones for pretraining"
    return replace(
        made,
        headline=headline + (f"; {dropped:,} left out" if dropped else ""),
        metrics=made.metrics | {"left_out_recordings": dropped, "new_shards": new},
    )


def _recordings(validated: Validated, noted: Noted) -> dict[tuple[str, str], Recording]:
    """Return the recording of each row, by its manifest's path and its name."""
    shards = ((shard, rows) for (shard, _), rows in zip(validated, noted.shards, strict=True) for _ in rows.rows)
    digests = (digest.tobytes().hex() for rows in noted.shards for digest in rows.digests)
    rows = zip(shards, noted.rows.columns[FILE], noted.rows.splits, digests, strict=True)
    return {(shard.path, name): Recording(split, sha256) for (shard, _), name, split, sha256 in rows}


def _encode(
    piece: Piece, writer: ShardedWriter, *, settings: EnhancementPreprocessing, known: dict[tuple[str, str], Recording]
) -> dict[str, dict[str, int]]:
    """Write recordings, noisy ones beside their clean ones; return how many rows are left out."""
    names = [str(name) for name in piece.values(settings.clean)]
    cleans = [known.get((file.shard.path, name)) for file, name in zip(piece.files, names, strict=True)]
    files = [
        file._replace(name=name, sha256=clean.sha256)
        for file, name, clean in zip(piece.files, names, cleans, strict=True)
        if name and clean
    ]
    sounds = _decoded(piece.files, settings)
    targets = _decoded(files, settings)
    left_out = 0
    for place, sound in enumerate(sounds):
        name, clean, split = names[place], cleans[place], piece.splits[place]
        target = next(targets) if name and clean else None if name else sound
        why = _unusable(sound, name, target, clean is None or clean.split == split, settings)
        if why and settings.unusable == "refuse":
            where = f"{piece.files[place].shard.path}: {piece.files[place].name}"
            raise UserError(
                f"preprocessing.unusable: {where}: {why}; mend it or leave such rows out: "
                "--set preprocessing.unusable=drop"
            )
        if why:
            left_out += 1
            continue
        values = {"samples": sound} | ({"targets": target} if name and target is not None else {})
        writer.add(f"{split}/{NOISY if name else CLEAN}", piece.ids[place], values)
    return {"all": {"left_out": left_out}}


def _decoded(files: list[File], settings: EnhancementPreprocessing) -> Iterator[np.ndarray]:
    """Yield the samples of each recording: int16, (samples,)."""
    for sound in media.recordings(files, settings.sample_rate, settings.resample):
        yield (sound * (1 << 15)).round().clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)


def _unusable(
    sound: np.ndarray, name: str, target: np.ndarray | None, is_together: bool, settings: EnhancementPreprocessing
) -> str:
    """Return why a row is unusable; empty if it is not.

    Args:
        sound: Its samples.
        name: Name of its clean recording; empty for a clean one.
        target: Samples of its clean recording, or its own; None where that has no row.
        is_together: Whether both are in one split.
        settings: The recipe's section.
    """
    seconds = len(sound) / settings.sample_rate
    if seconds < SHORTEST:
        return f"it lasts {seconds:.3f} s, less than {SHORTEST:g} s"
    if seconds > settings.max_seconds:
        return f"it lasts {seconds:.1f} s, more than preprocessing.max_seconds ({settings.max_seconds:g} s)"
    if target is None:
        return f"its clean recording {name!r} has no row in the same manifest"
    if not is_together:
        return f"its clean recording {name!r} is in another split; set preprocessing.split_by to what both share"
    if len(target) != len(sound):
        return f"it has {len(sound):,} samples and its clean recording {name!r} {len(target):,}"
    if np.abs(target.astype(np.int32)).max() < SILENCE * (1 << 15):
        return f"{f'its clean recording {name!r}' if name else 'it'} is silent"
    return ""


def _require(settings: EnhancementPreprocessing, split: str, pairs: int) -> None:
    if not pairs:
        raise UserError(
            f"{key_of(split, settings)}: no noisy recording is in the {split} split; change it, or add data"
        )
