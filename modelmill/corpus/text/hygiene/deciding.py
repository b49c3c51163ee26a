"""The choice of the documents to leave out, over all shards: a function of the scans, in the shards' order."""

import numpy as np

from modelmill.corpus.split import SPLITS
from modelmill.corpus.text.hygiene.fingerprints import permutations_of
from modelmill.corpus.text.hygiene.rules import REASONS
from modelmill.corpus.text.hygiene.scan import KEPT, Scanned
from modelmill.corpus.text.settings import Hygiene, NearDuplicates

_TRAIN = SPLITS.index("train")
# A needless candidate costs a comparison of two signatures, a missed one a duplicate. With these weights the index
# finds 19 of 20 documents that are just as similar as the threshold; with equal weights, 2 of 5.
_WEIGHTS = (0.05, 0.95)


def decide(scanned: list[Scanned], hygiene: Hygiene) -> list[np.ndarray]:
    """Return the reason of each document of each shard, as an index in REASONS, or KEPT; contamination comes later.

    Of documents that are equal or nearly so, the first stays, and a held-out one before any training document: else a
    model would be tested on what it has seen.
    """
    reasons = [shard.reasons.copy() for shard in scanned]
    if hygiene.exact_duplicates == "drop":
        _leave_out_equal(scanned, reasons)
    if hygiene.near_duplicates is not None:
        _leave_out_alike(scanned, reasons, hygiene.near_duplicates)
    return reasons


def _in_order(scanned: list[Scanned], reasons: list[np.ndarray]) -> list[tuple[int, int]]:
    """Return shard and row of the documents that still stay, held-out ones first."""
    first: list[tuple[int, int]] = []
    then: list[tuple[int, int]] = []
    for number, (shard, why) in enumerate(zip(scanned, reasons, strict=True)):
        for row in np.flatnonzero(why == KEPT).tolist():
            (then if shard.splits[row] == _TRAIN else first).append((number, row))
    return first + then


def _leave_out_equal(scanned: list[Scanned], reasons: list[np.ndarray]) -> None:
    seen: set[bytes] = set()
    for number, row in _in_order(scanned, reasons):
        digest = scanned[number].digests[row].tobytes()
        if digest in seen:
            reasons[number][row] = REASONS.index("exact_duplicate")
        seen.add(digest)


def _leave_out_alike(scanned: list[Scanned], reasons: list[np.ndarray], wanted: NearDuplicates) -> None:
    """Leave out near duplicates: locality-sensitive hashing yields candidates, whose signatures are compared.

    Lee et al., 2021, https://arxiv.org/abs/2107.06499.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=wanted.similarity, num_perm=wanted.permutations, weights=_WEIGHTS)
    places = [np.cumsum(shard.with_words) - 1 for shard in scanned]
    for number, row in _in_order(scanned, reasons):
        if not scanned[number].with_words[row]:
            continue
        values = scanned[number].signatures[places[number][row]]
        signature = MinHash(hashvalues=values, permutations=permutations_of(len(values)), scheme="affine32")
        alike = (scanned[a].signatures[places[a][b]] for a, b in index.query(signature))
        if any((values == other).mean() >= wanted.similarity for other in alike):
            reasons[number][row] = REASONS.index("near_duplicate")
        else:
            index.insert((number, row), signature, check_duplication=False)
