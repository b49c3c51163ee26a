"""Packing token sequences into one stream, with the start of each document and what is to be learned.

A stream reads END document END document ... END: the token that opens a document also closes the one before, so
each token but the first is predicted from its own document. A stream is packed whole or in batches, each from the
`position` of the END that closes the batch before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Ids = Sequence[int] | np.ndarray


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


def pack_documents(documents: Sequence[Ids], end: int, dtype: np.dtype, position: int = 0) -> Packed:
    """Documents one after the other."""
    ends = np.array([end], dtype)
    parts = [part for document in documents for part in (ends, document)]
    lengths = np.array([0, *(len(d) + 1 for d in documents)], np.int64)
    return Packed(_joined([*parts, ends], dtype), position + np.cumsum(lengths), None)


def pack_pairs(
    pairs: Sequence[tuple[Ids, Ids]],
    end: int,
    separator: Sequence[int],
    length: int,
    dtype: np.dtype,
    position: int = 0,
) -> Packed:
    """END prompt separator response END ...; only responses and the END after them are learned.

    Every pair lies within one window of `length` + 1 tokens: where the next does not fit, END fills the window.
    A response keeps at most half a window; a prompt loses its tail to fit.
    """
    parts: list[Ids] = []
    offsets: list[int] = []
    runs: list[tuple[bool, int]] = []  # how many tokens in a row are learned or not
    separates = np.array(separator, dtype)
    for prompt, response in pairs:
        response = response[: length // 2]
        prompt = prompt[: length - 1 - len(separator) - len(response)]
        opening = len(prompt) + len(separator)
        ends = 1
        if position % length + 1 + opening + len(response) > length:
            ends += length - position % length
        parts += [np.full(ends, end, dtype), prompt, separates, response]
        offsets += range(position, position + ends)
        runs += [(position > 0, 1), (False, ends - 1 + opening), (True, len(response))]
        position += ends + opening + len(response)
    parts.append(np.array([end], dtype))
    runs.append((True, 1))
    learned = np.repeat(np.array([one for one, _ in runs], np.uint8), [count for _, count in runs])
    return Packed(_joined(parts, dtype), np.array([*offsets, position], np.int64), learned)


def _joined(parts: Sequence[Ids], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts, dtype=dtype, casting="unsafe")  # an empty list is of floats
