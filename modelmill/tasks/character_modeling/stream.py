"""Packing of documents into one stream of symbols."""

import numpy as np

from modelmill.core import digest
from modelmill.tasks.character_modeling.symbols import BOUNDARY


def pack(documents: list[bytes]) -> dict[str, np.ndarray]:
    """Return the stream of documents.

    Args:
        documents: Bytes of each document.

    Returns:
        `tokens` (uint16), every document's bytes followed by BOUNDARY; `offsets` (int64, (documents + 1,)), where each
            begins; `ids` (uint64, (documents,)), equal for equal documents.
    """
    offsets = np.cumsum([0, *(len(document) + 1 for document in documents)], dtype=np.int64)
    tokens = np.full(int(offsets[-1]), BOUNDARY, np.uint16)
    is_byte = np.ones(len(tokens), bool)
    is_byte[offsets[1:] - 1] = False
    tokens[is_byte] = np.frombuffer(b"".join(documents), np.uint8)
    ids = np.array([int(digest.of_bytes(document)[:16], 16) for document in documents], np.uint64)
    return {"ids": ids, "tokens": tokens, "offsets": offsets}
