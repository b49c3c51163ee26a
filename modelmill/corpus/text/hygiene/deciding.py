"""Which documents are left out, over all shards; a function of what was scanned, in the shards' order."""

import numpy as np

from modelmill.corpus.split import SPLITS
from modelmill.corpus.text.hygiene.fingerprints import permutations_of
from modelmill.corpus.text.hygiene.rules import REASONS
from modelmill.corpus.text.hygiene.scan import KEPT, Scanned
from modelmill.corpus.text.settings import Hygiene, NearDuplicates

_TRAIN = SPLITS.index("train")
# A candidate in vain costs a look at two signatures, a missed one a duplicate: so the index finds 19 of 20 documents
# that are just so similar as is asked for (with equal weights 2 of 5).
_IN_VAIN_OR_MISSED = (0.05, 0.95)


def decide(scanned: list[Scanned], hygiene: Hygiene) -> list[np.ndarray]:
    """The reason of each document of each shard, as a place in REASONS, or KEPT; without contamination.

    Of documents that are equal, or nearly so, the first stays, and a held-out one before any that is trained on: else
    a model would be tested on what it has seen.
    """
    reasons = [shard.reasons.copy() for shard in scanned]
    if hygiene.exact_duplicates == "drop":
        _leave_out_equal(scanned, reasons)
    if hygiene.near_duplicates is not None:
        _leave_out_alike(scanned, reasons, hygiene.near_duplicates)
    return reasons


def _in_order(scanned: list[Scanned], reasons: list[np.ndarray]) -> list[tuple[int, int]]:
    """Shard and row of the documents that still stay, held-out ones first."""
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
    """Candidates come from locality-sensitive hashing; their signatures say how similar they are (Lee et al., 2021,
    https://arxiv.org/abs/2107.06499).
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=wanted.similarity, num_perm=wanted.permutations, weights=_IN_VAIN_OR_MISSED)
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
