"""Token sequences packed into one stream, with the start of each document and what is to be learned.

A stream reads END document END document ... END: the token that opens a document also closes the one before, so
each token except the first is predicted from its own document. A stream is packed whole or in batches, each from the
`position` of the END that closes the batch before.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Ids = Sequence[int] | np.ndarray


class Packed(NamedTuple):
    """A stream of tokens.

    Attributes:
        tokens: Ids of the stream.
        offsets: Positions at which documents start, int64, ascending from 0.
        learned: uint8, 1 for a token that is to be predicted; None where all are.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    learned: np.ndarray | None


class Frame(NamedTuple):
    """The token ids around a pair's prompt and response.

    Attributes:
        before: Ids before the prompt.
        between: Ids between prompt and response.
        after: Ids after the response, which are learned as it is.
        stop: The first id after the response that says it is over.
        trims: Whether white space around prompt and response is left out.
    """

    before: list[int]
    between: list[int]
    after: list[int]
    stop: int
    trims: bool = False


def token_type(vocab_size: int) -> np.dtype:
    """Return the smallest unsigned type that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def pack_documents(documents: Sequence[Ids], end: int, dtype: np.dtype, position: int = 0) -> Packed:
    """Return the stream of documents.

    Args:
        documents: Token ids of each.
        end: Id of the token that opens and closes documents.
        dtype: Type of the ids.
        position: Position in the stream of the END that begins this batch.
    """
    ends = np.array([end], dtype)
    parts = [part for document in documents for part in (ends, document)]
    lengths = np.array([0, *(len(d) + 1 for d in documents)], np.int64)
    return Packed(_joined([*parts, ends], dtype), position + np.cumsum(lengths), None)


def pack_pairs(
    pairs: Sequence[tuple[Ids, Ids]], end: int, frame: Frame, length: int, dtype: np.dtype, position: int = 0
) -> Packed:
    """Return the stream of framed pairs with an END between them; only responses and what follows are learned.

    Where the frame begins or ends with END, that is the one between the pairs; else END is a document by itself. Every
    pair lies within one window of `length` + 1 tokens: where the next does not fit, END fills the window. A response
    keeps at most half a window; a prompt loses its tail to fit.

    Args:
        pairs: Token ids of prompts and responses.
        end: Id of the token that opens and closes documents.
        frame: The ids around a prompt and its response.
        length: The sequence length of training.
        dtype: Type of the ids.
        position: Position in the stream of the END that begins this batch.
    """
    opens, closes = frame.before[:1] == [end], frame.after[-1:] == [end]
    before = np.array(frame.before[1:] if opens else frame.before, dtype)
    after = np.array(frame.after[:-1] if closes else frame.after, dtype)
    between = np.array(frame.between, dtype)
    parts: list[Ids] = []
    offsets: list[int] = []
    runs: list[tuple[bool, int]] = []  # whether tokens are learned, and how many in a row
    around = len(before) + len(between) + len(after)
    for prompt, response in pairs:
        response = response[: length // 2]
        prompt = prompt[: length - 1 - around - len(response)]
        size = around + len(prompt) + len(response)
        answer = len(response) + len(after)
        ends = 1
        if position % length + 1 + size > length:
            ends += length - position % length
        parts += [np.full(ends, end, dtype), before, prompt, between, response, after]
        offsets += range(position, position + ends + (not opens))
        runs += [(closes and position > 0, 1), (False, ends - 1 + size - answer), (True, answer)]
        position += ends + size
    parts.append(np.array([end], dtype))
    runs.append((closes, 1))
    learned = np.repeat(np.array([one for one, _ in runs], np.uint8), [count for _, count in runs])
    return Packed(_joined(parts, dtype), np.array([*offsets, position], np.int64), learned)


def _joined(parts: Sequence[Ids], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts, dtype=dtype, casting="unsafe")  # an empty list is of floats
