"""Contamination: training documents that share a run of words with a held-out document.

As Brown et al. (2020, https://arxiv.org/abs/2005.14165, appendix C) do it, runs that many training documents hold are
common phrases, licences for the most part, and count for nothing.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import documents
from modelmill.corpus.text.hygiene.fingerprints import Fingerprints
from modelmill.corpus.text.hygiene.scan import KEPT, Scanned
from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.data.shards import Shard

FILE = "overlaps.npz"


class Overlaps(NamedTuple):
    """Of one shard: rows (int64) of training documents beside hashes (uint64) of held-out runs that they hold; and the
    hashes that are `common` within the shard already, whose rows are not listed.
    """

    rows: np.ndarray
    runs: np.ndarray
    common: np.ndarray

    @classmethod
    def load(cls, file: Path) -> "Overlaps":
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls._fields})


def held_out_runs(scanned: list[Scanned], reasons: list[np.ndarray]) -> np.ndarray:
    """Hashes of the word runs of all held-out documents that stay: uint64, ascending."""
    runs = [np.empty(0, np.uint64)]
    for shard, why in zip(scanned, reasons, strict=True):
        starts = np.concatenate([[0], shard.ends[:-1]])
        for row in np.flatnonzero((why == KEPT) & (shard.splits != SPLITS.index("train"))):
            runs.append(shard.held_out[starts[row] : shard.ends[row]])
    return np.unique(np.concatenate(runs))


def find_overlaps(
    shard: Shard, sha256: str, settings: LanguagePreprocessing, left_out: frozenset[int], held_out: Path, target: Path
) -> dict[str, Path]:
    """Read a shard again and write its `Overlaps`; the file by its name.

    Args:
        held_out: an .npy file with what `held_out_runs` found.
    """
    wanted = settings.hygiene.contamination
    assert wanted is not None
    known, prints = np.load(held_out, allow_pickle=False), Fingerprints()
    rows, runs = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for document in documents.read(shard, sha256, settings.model_copy(update={"pairs": None}), left_out):
        if document.split == "train":
            both = _among(prints.runs(document.text, wanted.words), known)
            rows.append(np.full(len(both), document.row))
            runs.append(both)
    made = _without_common(np.concatenate(rows), np.concatenate(runs), wanted.common)
    target.mkdir(parents=True, exist_ok=True)
    np.savez(target / FILE, **made._asdict())
    return {FILE: target / FILE}


def contaminated(overlaps: list[Overlaps], common: int | None) -> list[np.ndarray]:
    """The rows of each shard that hold a held-out run which is not common to more than so many of all documents."""
    everything = np.concatenate([np.empty(0, np.uint64), *(shard.runs for shard in overlaps)])
    phrases = np.concatenate(
        [_without_common(np.zeros(len(everything)), everything, common).common, *(shard.common for shard in overlaps)]
    )
    return [np.unique(shard.rows[~np.isin(shard.runs, phrases)]) for shard in overlaps]


def _among(runs: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Those of `runs` that are `known`, which ascends; without a look at all that is known."""
    if not len(known):
        return known
    return runs[known[np.minimum(np.searchsorted(known, runs), len(known) - 1)] == runs]


def _without_common(rows: np.ndarray, runs: np.ndarray, common: int | None) -> Overlaps:
    values, which, counts = np.unique(runs, return_inverse=True, return_counts=True)
    many = counts > (len(runs) if common is None else common)
    return Overlaps(rows[~many[which]], runs[~many[which]], values[many])
