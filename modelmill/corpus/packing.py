"""Token sequences packed into one stream, with the start of each document and what is to be learned.

Each token but the first of a document is predicted from its own document alone. Where END opens documents, a stream
reads END document END document ... END: the token that opens a document also closes the one before. Where a tokenizer
opens texts with a token of its own, it reads BOS document END BOS document END ... BOS, and no BOS is ever learned.
Each batch of a stream begins at the `position` of the token that closes the batch before, and replaces it.
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


class Example(NamedTuple):
    """A pair as the model sees it.

    Attributes:
        given: Ids that are not learned: the prompt, and the frame up to where the response begins.
        learned: Ids of the response and of what ends it; of a response that was cut, nothing ends it.
        rest: Ids after that, which are not learned.
    """

    given: Ids
    learned: Ids
    rest: Ids = ()


def token_type(vocab_size: int) -> np.dtype:
    """Return the smallest unsigned type that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.uint32)


def pack_documents(
    documents: Sequence[Ids], end: int, dtype: np.dtype, position: int = 0, opening: Sequence[int] = ()
) -> Packed:
    """Return the stream of documents.

    Args:
        documents: Token ids of each.
        end: Id of the token that ends a document.
        dtype: Type of the ids.
        position: Position in the stream of the token that begins this batch.
        opening: Ids that open a document; none where END does.
    """
    opens = np.array(opening or [end], dtype)
    closes = np.array([end] if opening else [], dtype)
    parts = [part for document in documents for part in (opens, document, closes)]
    around = len(opens) + len(closes)
    lengths = np.array([0, *(len(d) + around for d in documents)], np.int64)
    offsets = np.cumsum(lengths)
    tokens = _joined([*parts, opens[:1]], dtype)
    if not opening:
        return Packed(tokens, position + offsets, None)
    learned = np.ones(len(tokens), np.uint8)
    learned[(offsets[:-1, None] + np.arange(len(opens))).ravel()] = 0
    learned[-1] = 0
    return Packed(tokens, position + offsets, learned)


def room(length: int, shares_end: bool) -> int:
    """Return how many tokens an example may have.

    Args:
        length: The sequence length of training.
        shares_end: Whether END opens and closes it.
    """
    # A window of `length` labels has one token more, which the END of the next example is.
    return length + 1 if shares_end else length


class PairStream:
    """A stream of examples, each of which lies within one window of `length` + 1 tokens.

    Where END opens and closes examples, one END lies between two of them. Where the next does not fit into a window,
    END fills it, each END a document by itself.

    Attributes:
        position: Position in the stream at which the next batch starts.
    """

    def __init__(self, end: int, length: int, dtype: np.dtype) -> None:
        """Start without examples.

        Args:
            end: Id of the token that ends a document.
            length: The sequence length of training.
            dtype: Type of the ids.
        """
        self.end = end
        self.length = length
        self.dtype = dtype
        self.position = 0
        self._closed: int | None = None  # whether the END at `position`, if an example has one there, is learned

    def pack(self, examples: Sequence[Example]) -> Packed:
        """Return a batch of the stream."""
        parts: list[Ids] = []
        offsets: list[int] = []
        runs: list[tuple[int, int]] = []  # whether tokens are learned, and how many in a row
        for given, learned, rest in examples:
            opens = int(len(given) > 0 and given[0] == self.end)
            answer = len(learned)
            size = len(given) + answer + len(rest)
            if self._closed is not None and not opens:
                self._fill(1, parts, runs)
            last = rest if len(rest) else learned
            closes = bool(opens and len(last) and last[-1] == self.end)
            place = self.position % self.length
            if place and place + size - closes > self.length:
                filled = self.length - place
                offsets += range(self.position, self.position + filled)
                self._fill(filled, parts, runs)
            offsets.append(self.position)
            parts += [given, learned, rest]
            runs += [(self._closed or 0, opens), (0, len(given) - opens), (1, answer), (0, len(rest))]
            self.position += size
            self._closed = None
            if closes:
                self._take_back(parts, runs)
        parts.append(np.array([self.end], self.dtype))
        runs.append((self._closed or 0, 1))
        marks = np.repeat(np.array([one for one, _ in runs], np.uint8), [count for _, count in runs])
        return Packed(_joined(parts, self.dtype), np.array([*offsets, self.position], np.int64), marks)

    def _fill(self, count: int, parts: list[Ids], runs: list[tuple[int, int]]) -> None:
        """Append END `count` times; the first may be that of the example before."""
        parts.append(np.full(count, self.end, self.dtype))
        runs += [(self._closed or 0, 1), (0, count - 1)]
        self.position += count
        self._closed = None

    def _take_back(self, parts: list[Ids], runs: list[tuple[int, int]]) -> None:
        """Take back the END of an example, which will open the next one."""
        place = -1 if len(parts[-1]) else -2
        parts[place] = parts[place][:-1]
        mark, count = runs[place]
        runs[place] = (mark, count - 1)
        self.position -= 1
        self._closed = mark


def _joined(parts: Sequence[Ids], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts, dtype=dtype, casting="unsafe")  # an empty list is of floats
