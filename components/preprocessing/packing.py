"""Packing token sequences into one stream, with the start of each document and what is to be learned.

A stream reads END document END document ... END: the token that opens a document also closes the one before, so
each token but the first is predicted from its own document.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Packed(NamedTuple):
    """tokens: ids of the stream. offsets: int64 positions at which documents start, ascending from 0.
    learned: uint8, 1 for a token that is to be predicted; None where all are.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    learned: np.ndarray | None


def token_type(vocab_size: int) -> np.dtype:
    """The smallest unsigned type that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def pack_documents(documents: Sequence[Sequence[int]], end: int, dtype: np.dtype) -> Packed:
    """Documents one after the other."""
    lengths = np.array([len(d) + 1 for d in documents], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.full(offsets[-1] + 1, end, dtype=dtype)
    for start, document in zip(offsets[:-1], documents, strict=True):
        tokens[start + 1 : start + 1 + len(document)] = document
    return Packed(tokens, offsets, None)


def pack_pairs(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    end: int,
    separator: Sequence[int],
    length: int,
    dtype: np.dtype,
) -> Packed:
    """END prompt separator response END ...; only responses and the END after them are learned.

    Every pair lies within one window of `length` + 1 tokens: where the next does not fit, END fills the window.
    A response keeps at most half a window; a prompt loses its tail to fit.
    """
    tokens: list[int] = []
    offsets: list[int] = []
    learned: list[int] = []
    for prompt, response in pairs:
        response = response[: length // 2]
        prompt = prompt[: length - 1 - len(separator) - len(response)]
        opening = [*prompt, *separator]
        needed = 1 + len(opening) + len(response)
        if tokens and len(tokens) % length + needed > length:
            _open_document(tokens, offsets, learned, end, closes_response=True)
            while len(tokens) % length:
                _open_document(tokens, offsets, learned, end, closes_response=False)
            closes_response = False
        else:
            closes_response = bool(tokens)
        _open_document(tokens, offsets, learned, end, closes_response)
        tokens += [*opening, *response]
        learned += [0] * len(opening) + [1] * len(response)
    if tokens:
        _open_document(tokens, offsets, learned, end, closes_response=True)
    return Packed(np.array(tokens, dtype), np.array(offsets, np.int64), np.array(learned, np.uint8))


def _open_document(tokens: list[int], offsets: list[int], learned: list[int], end: int, closes_response: bool) -> None:
    offsets.append(len(tokens))
    tokens.append(end)
    learned.append(int(closes_response))
