"""What hygiene needs to know of one shard, as arrays."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from modelmill.core.digest import of_bytes
from modelmill.corpus.split import SPLITS
from modelmill.corpus.text import documents
from modelmill.corpus.text.hygiene.fingerprints import Fingerprints, signature
from modelmill.corpus.text.hygiene.rules import REASONS, reason
from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.data.shard import Shard

KEPT = len(REASONS)
FILE = "hygiene.npz"


class Scanned(NamedTuple):
    """The documents of one shard, a row each.

    Attributes:
        reasons: Index in REASONS of the rule that it breaks by itself, or KEPT.
        splits: Index in SPLITS.
        digests: The first 16 bytes of the cleaned text's SHA-256, uint8, (documents, 16).
        with_words: Which documents have words and thus a signature.
        signatures: MinHashes of the documents with words, uint32, (documents with words, permutations).
        changes: Counts of normalisation, e-mail addresses and secrets replaced, int32, (documents, 3).
        held_out: Hashes of the word runs of held-out documents, one after the other, uint64.
        ends: Where each document's hashes end in `held_out`, int64.
    """

    reasons: np.ndarray
    splits: np.ndarray
    digests: np.ndarray
    with_words: np.ndarray
    signatures: np.ndarray
    changes: np.ndarray
    held_out: np.ndarray
    ends: np.ndarray

    @classmethod
    def load(cls, file: Path) -> "Scanned":
        """Return what is in a file."""
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls._fields})


def scan(shard: Shard, sha256: str, settings: LanguagePreprocessing, target: Path) -> dict[str, Path]:
    """Read a shard once and write what hygiene needs to know of it.

    Args:
        shard: The shard.
        sha256: Digest of the bytes that were validated.
        settings: The recipe's `preprocessing`.
        target: The folder for the file.

    Returns:
        The file by its name.
    """
    hygiene, prints = settings.hygiene, Fingerprints()
    reasons, splits, digests, changes, with_words = [], [], [], [], []
    signatures: list[np.ndarray] = []
    held_out: list[np.ndarray] = []
    for document in documents.read(shard, sha256, settings.for_documents):
        broken = document.problem or reason(document.text, hygiene)
        reasons.append(KEPT if broken is None else REASONS.index(broken))
        splits.append(SPLITS.index(document.split))
        digests.append(bytes.fromhex(of_bytes(document.text.encode("utf-8", "surrogatepass")))[:16])
        changes.append(document.changes)
        has_words = False
        if hygiene.near_duplicates is not None and broken is None:
            runs = prints.runs(document.text, hygiene.near_duplicates.words)
            if has_words := bool(len(runs)):
                signatures.append(signature(runs, hygiene.near_duplicates.permutations))
        with_words.append(has_words)
        is_evidence = hygiene.contamination is not None and broken is None and document.split != "train"
        held_out.append(
            prints.runs(document.text, hygiene.contamination.words)
            if is_evidence and hygiene.contamination
            else np.empty(0, np.uint64)
        )
    arrays = Scanned(
        np.array(reasons, np.uint8),
        np.array(splits, np.uint8),
        np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16),
        np.array(with_words, bool),
        np.array(signatures, np.uint32),
        np.array(changes, np.int32).reshape(-1, 3),
        np.concatenate([np.empty(0, np.uint64), *held_out]),
        np.cumsum([len(runs) for runs in held_out], dtype=np.int64),
    )
    target.mkdir(parents=True, exist_ok=True)
    np.savez(target / FILE, **arrays._asdict())
    return {FILE: target / FILE}
