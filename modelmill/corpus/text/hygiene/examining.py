"""Hygiene over all shards of a step: each is scanned once and kept, then all are decided on together."""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus import processes
from modelmill.corpus.shard_cache import Encoded, ShardCache
from modelmill.corpus.text.hygiene import deciding, overlaps
from modelmill.corpus.text.hygiene.overlaps import Overlaps
from modelmill.corpus.text.hygiene.rules import REASONS
from modelmill.corpus.text.hygiene.scan import FILE, KEPT, Scanned, scan
from modelmill.corpus.text.settings import Hygiene, LanguagePreprocessing
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Step
from modelmill.store import manifest

HashedShards = list[tuple[Shard, str]]
CHANGES = ("normalised", "emails", "secrets")


class Examined(NamedTuple):
    """The outcome of hygiene.

    Attributes:
        left_out: For each shard, the rows that are not in the corpus.
        info: Counts, for the manifest and for people.
    """

    left_out: list[frozenset[int]]
    info: dict[str, Any]


def examine(step: Step, validated: HashedShards, settings: LanguagePreprocessing) -> Examined:
    """Decide which documents are left out.

    Args:
        step: The running step.
        validated: The dataset's shards, each with the sha256 that was validated.
        settings: The recipe's `preprocessing`.

    Raises:
        UserError: Every document would be left out, or a shard has changed.
    """
    if settings.hygiene == Hygiene() and not _leaves_out_rows(settings):
        return Examined([frozenset()] * len(validated), {})
    scanned = _scan_all(step, validated, settings)
    reasons = deciding.decide(scanned, settings.hygiene)
    if settings.hygiene.contamination is not None:
        _leave_out_contaminated(step, validated, settings, scanned, reasons)
    info = _count(scanned, reasons)
    if not info["kept"]:
        raise UserError(f"preprocessing.hygiene: every document would be left out ({why(info)}); loosen the rules")
    return Examined([_left_out(one) for one in reasons], info)


def _leaves_out_rows(settings: LanguagePreprocessing) -> bool:
    """Tell whether rows may be left out because of what they are, not of what hygiene asks for."""
    pairs = settings.conversations
    if pairs is None:
        return False
    return pairs.malformed == "leave_out" or (pairs.source == "preferences" and pairs.equal == "drop")


def why(info: dict[str, Any]) -> str:
    """Return how many documents were left out for which reason; an empty text for none."""
    return ", ".join(f"{count} {reason}" for reason, count in info.get("left_out", {}).items())


def _scan_all(step: Step, validated: HashedShards, settings: LanguagePreprocessing) -> list[Scanned]:
    cache = ShardCache(step, "hygiene", settings.beside_documents)
    known = {sha256: cache.find(sha256) for _, sha256 in validated}
    new = {sha256: shard for shard, sha256 in validated if known[sha256] is None}
    jobs = [(shard, sha256, settings, step.scratch / "scanned" / sha256) for sha256, shard in new.items()]
    for done, (sha256, files) in enumerate(zip(new, processes.each(scan, jobs), strict=True)):
        known[sha256] = cache.keep(sha256, files, {})
        step.progress(done, len(new) + 1, "looking for what to leave out")
    return [Scanned.load(_fetch(step, known[sha256], sha256, FILE)) for _, sha256 in validated]


def _leave_out_contaminated(
    step: Step,
    validated: HashedShards,
    settings: LanguagePreprocessing,
    scanned: list[Scanned],
    reasons: list[np.ndarray],
) -> None:
    """Mark training documents that overlap with held-out ones.

    A shard is read again for this, unless neither the held-out documents nor its own have changed.
    """
    assert settings.hygiene.contamination is not None
    held_out: Path = step.scratch / "held_out.npy"
    np.save(held_out, overlaps.held_out_runs(scanned, reasons), allow_pickle=False)
    cache = ShardCache(step, "contamination:" + digest.of_file(held_out), settings.beside_documents)
    left_out = [_left_out(one) for one in reasons]
    keys = [but_for(sha256, rows) for (_, sha256), rows in zip(validated, left_out, strict=True)]
    known = {key: cache.find(key) for key in keys}
    new = {key: number for number, key in enumerate(keys) if known[key] is None}
    jobs = [
        (*validated[number], settings, left_out[number], held_out, step.scratch / "overlaps" / key)
        for key, number in new.items()
    ]
    for key, files in zip(new, processes.each(overlaps.find_overlaps, jobs), strict=True):
        known[key] = cache.keep(key, files, {})
    there = [Overlaps.load(_fetch(step, known[key], key, overlaps.FILE)) for key in keys]
    for one, rows in zip(reasons, overlaps.contaminated(there, settings.hygiene.contamination.common), strict=True):
        one[rows] = REASONS.index("contaminated")


def _fetch(step: Step, kept: Encoded | None, key: str, name: str) -> Path:
    """Return a file of the shard's cached arrays."""
    entries = kept.entries if kept else []
    return manifest.fetch(step.store, entries, step.scratch / "known" / key)[name]


def _left_out(reasons: np.ndarray) -> frozenset[int]:
    return frozenset(np.flatnonzero(reasons != KEPT).tolist())


def but_for(sha256: str, left_out: frozenset[int]) -> str:
    """Return the cache key for a shard minus its excluded rows."""
    return digest.of_json([sha256, sorted(left_out)]) if left_out else sha256


def _count(scanned: list[Scanned], reasons: list[np.ndarray]) -> dict[str, Any]:
    counted = Counter(np.concatenate(reasons).tolist())
    changes = sum(shard.changes[one == KEPT].sum(axis=0) for shard, one in zip(scanned, reasons, strict=True))
    return {
        "documents": sum(counted.values()),
        "kept": counted[KEPT],
        "left_out": {name: counted[place] for place, name in enumerate(REASONS) if counted[place]},
        "changed": dict(zip(CHANGES, np.asarray(changes).tolist(), strict=True)),
    }
