"""Preprocessing of noisy and clean recordings into samples, each noisy one beside its clean one."""

from dataclasses import replace

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, media
from modelmill.corpus.in_memory import AllRows
from modelmill.corpus.split import SPLITS
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.speech_enhancement.recipe import EnhancementPreprocessing, Recipe

NOISY, CLEAN = "noisy", "clean"
# A clean recording whose amplitude stays below this, -60 dB, is silent.
SILENCE = 1e-3
SHORTEST = 0.1  # seconds


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus.

    Each split has `noisy` (pairs) and `clean` (single recordings), each with `ids`, `offsets`, and int16 `samples`, the
    recordings concatenated; pairs have `targets` as well, the clean samples of the same times.

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
    rows = in_memory.read(step, shards, {"preprocessing.clean": settings.clean})
    wanted = [str(name) for name in rows.columns[settings.clean]]
    sounds: list[np.ndarray] = []
    for sound in media.recordings(rows.files, settings.sample_rate, settings.resample):
        step.progress(len(sounds), len(wanted), "recordings")
        sounds.append((sound * (1 << 15)).round().clip(-(1 << 15), (1 << 15) - 1).astype(np.int16))
    places = {(file.shard.uri, file.name): place for place, file in enumerate(rows.files)}
    of = [
        places.get((file.shard.uri, name), -1) if name else None for file, name in zip(rows.files, wanted, strict=True)
    ]
    kept = []
    for row, target in enumerate(of):
        why = _unusable(row, target, sounds, rows, settings)
        if not why:
            kept.append(row)
        elif settings.unusable == "refuse":
            where = f"{rows.files[row].shard.path}: {rows.files[row].name}"
            raise UserError(
                f"preprocessing.unusable: {where}: {why}; mend it or leave such rows out: "
                "--set preprocessing.unusable=drop"
            )
    arrays: dict[str, dict[str, np.ndarray]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        members = [row for row in kept if rows.splits[row] == split]
        pairs, alone = ([row for row in members if (of[row] is None) is is_clean] for is_clean in (False, True))
        _require(split, pairs)
        arrays[split] |= {f"{NOISY}/{name}": one for name, one in _packed(pairs, sounds, rows.ids).items()}
        targets = [sounds[place] for row in pairs if (place := of[row]) is not None]
        arrays[split][f"{NOISY}/targets"] = np.concatenate(targets)
        arrays[split] |= {f"{CLEAN}/{name}": one for name, one in _packed(alone, sounds, rows.ids).items()}
    made = in_memory.corpus(step, arrays, {"sample_rate": settings.sample_rate})
    counts = {split: len(arrays[split][f"{CLEAN}/ids"]) for split in SPLITS}
    dropped = len(wanted) - len(kept)
    headline = f"{made.headline} pairs; {counts['train']:,} clean ones for pretraining"
    return replace(
        made,
        headline=headline + (f"; {dropped:,} left out" if dropped else ""),
        metrics=made.metrics | {"left_out_recordings": dropped},
    )


def _packed(members: list[int], sounds: list[np.ndarray], ids: np.ndarray) -> dict[str, np.ndarray]:
    chosen = [sounds[row] for row in members]
    return {
        "ids": ids[members] if members else ids[:0],
        "offsets": np.cumsum([0, *map(len, chosen)], dtype=np.int64),
        "samples": np.concatenate([np.zeros(0, np.int16), *chosen]),
    }


def _unusable(
    row: int, target: int | None, sounds: list[np.ndarray], rows: AllRows, settings: EnhancementPreprocessing
) -> str:
    """Return why a row is unusable; empty if it is not."""
    name = rows.columns[settings.clean][row]
    seconds = len(sounds[row]) / settings.sample_rate
    if seconds < SHORTEST:
        return f"it lasts {seconds:.3f} s, less than {SHORTEST:g} s"
    if seconds > settings.max_seconds:
        return f"it lasts {seconds:.1f} s, more than preprocessing.max_seconds ({settings.max_seconds:g} s)"
    if target == -1:
        return f"its clean recording {name!r} has no row in the same manifest"
    clean = row if target is None else target
    if rows.splits[clean] != rows.splits[row]:
        return f"its clean recording {name!r} is in another split; set preprocessing.split_by to what both share"
    if len(sounds[clean]) != len(sounds[row]):
        return f"it has {len(sounds[row]):,} samples and its clean recording {name!r} {len(sounds[clean]):,}"
    if np.abs(sounds[clean].astype(np.int32)).max() < SILENCE * (1 << 15):
        return f"{'it' if target is None else f'its clean recording {name!r}'} is silent"
    return ""


def _require(split: str, pairs: list[int]) -> None:
    fraction = "preprocessing.validation or .test" if split == "train" else f"preprocessing.{split}"
    if not pairs:
        raise UserError(f"{fraction}: no noisy recording is in the {split} split; change it, or add data")
