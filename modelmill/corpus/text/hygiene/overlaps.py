"""Contamination: training documents that share a run of words with a held-out document.

As in Brown et al. (2020, https://arxiv.org/abs/2005.14165, appendix C), runs that many training documents hold are
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
from modelmill.data.shard import Shard

FILE = "overlaps.npz"


class Overlaps(NamedTuple):
    """The overlaps of one shard.

    Attributes:
        rows: Rows of training documents, int64, one for each overlap.
        runs: Hashes of the held-out runs that they hold, uint64.
        common: Hashes of runs that are common within the shard, whose rows are not listed.
    """

    rows: np.ndarray
    runs: np.ndarray
    common: np.ndarray

    @classmethod
    def load(cls, file: Path) -> "Overlaps":
        """Return the overlaps in a file."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls._fields})


def held_out_runs(scanned: list[Scanned], reasons: list[np.ndarray]) -> np.ndarray:
    """Return the hashes of the word runs of all held-out documents that stay: uint64, ascending."""
    runs = [np.empty(0, np.uint64)]
    for shard, why in zip(scanned, reasons, strict=True):
        starts = np.concatenate([[0], shard.ends[:-1]])
        for row in np.flatnonzero((why == KEPT) & (shard.splits != SPLITS.index("train"))):
            runs.append(shard.held_out[starts[row] : shard.ends[row]])
    return np.unique(np.concatenate(runs))


def find_overlaps(
    shard: Shard, sha256: str, settings: LanguagePreprocessing, left_out: frozenset[int], held_out: Path, target: Path
) -> dict[str, Path]:
    """Read a shard again and write its `Overlaps`.

    Args:
        shard: The shard.
        sha256: Digest of the bytes that were validated.
        settings: The recipe's `preprocessing`.
        left_out: Rows that are left out already.
        held_out: An .npy file of what `held_out_runs` returned.
        target: The folder for the file.

    Returns:
        The file by its name.
    """
    wanted = settings.hygiene.contamination
    assert wanted is not None
    known, prints = np.load(held_out, allow_pickle=False), Fingerprints()
    rows, runs = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for document in documents.read(shard, sha256, settings.for_documents, left_out):
        if document.split == "train":
            both = _among(prints.runs(document.text, wanted.words), known)
            rows.append(np.full(len(both), document.row))
            runs.append(both)
    made = _without_common(np.concatenate(rows), np.concatenate(runs), wanted.common)
    target.mkdir(parents=True, exist_ok=True)
    np.savez(target / FILE, **made._asdict())
    return {FILE: target / FILE}


def contaminated(overlaps: list[Overlaps], common: int | None) -> list[np.ndarray]:
    """Return the rows of each shard that hold a held-out run, unless more than `common` documents of all hold it."""
    everything = np.concatenate([np.empty(0, np.uint64), *(shard.runs for shard in overlaps)])
    phrases = np.concatenate(
        [_without_common(np.zeros(len(everything)), everything, common).common, *(shard.common for shard in overlaps)]
    )
    return [np.unique(shard.rows[~np.isin(shard.runs, phrases)]) for shard in overlaps]


def _among(runs: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return those of `runs` that are among `known`, which ascends, without a pass over all of `known`."""
    if not len(known):
        return known
    return runs[known[np.minimum(np.searchsorted(known, runs), len(known) - 1)] == runs]


def _without_common(rows: np.ndarray, runs: np.ndarray, common: int | None) -> Overlaps:
    values, which, counts = np.unique(runs, return_inverse=True, return_counts=True)
    many = counts > (len(runs) if common is None else common)
    return Overlaps(rows[~many[which]], runs[~many[which]], values[many])
