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
        weights: float32, each token's weight in the loss; None where `learned` says it.
        sides: uint8, 0 for a token of a prompt, 1 for the better answer, 2 for the worse; None where there are none.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    learned: np.ndarray | None
    weights: np.ndarray | None = None
    sides: np.ndarray | None = None


class Segment(NamedTuple):
    """A part of an example.

    Attributes:
        ids: Ids of its tokens.
        weight: Weight of each token in the loss; 0 for what is given.
        side: 0 for a prompt, 1 for the better answer, 2 for the worse.
    """

    ids: Ids
    weight: float = 0.0
    side: int = 0


# A conversation as the model sees it, in parts that follow one another.
Example = Sequence[Segment]


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
    """A stream of examples, each of which lies within one window of `length` + 1 tokens if it fits one.

    Where END opens and closes examples, one END lies between two of them. Where the next does not fit into a window,
    END fills it, each END a document by itself.

    Attributes:
        position: Position in the stream at which the next batch starts.
    """

    def __init__(self, end: int, length: int, dtype: np.dtype, kinds: frozenset[str] = frozenset()) -> None:
        """Start without examples.

        Args:
            end: Id of the token that ends a document.
            length: The sequence length of training.
            dtype: Type of the ids.
            kinds: What is packed beside `learned`: `weights`, or `sides`, where each example keeps both its END.
        """
        self.end = end
        self.length = length
        self.dtype = dtype
        self.kinds = kinds
        self.position = 0
        self._closed: float | None = None  # weight of the END at `position`, if an example has one there

    def pack(self, examples: Sequence[Example]) -> Packed:
        """Return a batch of the stream."""
        parts: list[Segment] = []
        offsets: list[int] = []
        for example in examples:
            segments = [segment for segment in example if len(segment.ids)]
            size = sum(len(segment.ids) for segment in segments)
            opens = "sides" not in self.kinds and segments[0].ids[0] == self.end
            if self._closed is not None and not opens:
                self._fill(1, parts)
            closes = bool(opens and size > 1 and segments[-1].ids[-1] == self.end)
            place = self.position % self.length
            if place and place + size - closes > self.length:
                filled = self.length - place
                offsets += range(self.position, self.position + filled)
                self._fill(filled, parts)
            offsets.append(self.position)
            if opens:
                first = segments[0]
                parts.append(Segment(first.ids[:1], self._closed or 0.0))
                segments[0] = first._replace(ids=first.ids[1:])
            parts += segments
            self.position += size
            self._closed = None
            if closes:
                self._take_back(parts)
        parts.append(self._ends(1, self._closed or 0.0))
        return self._packed(parts, np.array([*offsets, self.position], np.int64))

    def _packed(self, parts: list[Segment], offsets: np.ndarray) -> Packed:
        counts = [len(part.ids) for part in parts]
        weights = np.repeat(np.array([part.weight for part in parts], np.float32), counts)
        sides = np.repeat(np.array([part.side for part in parts], np.uint8), counts)
        return Packed(
            _joined([part.ids for part in parts], self.dtype),
            offsets,
            (weights > 0).astype(np.uint8),
            weights if "weights" in self.kinds else None,
            sides if "sides" in self.kinds else None,
        )

    def _ends(self, count: int, weight: float = 0.0) -> Segment:
        return Segment(np.full(count, self.end, self.dtype), weight)

    def _fill(self, count: int, parts: list[Segment]) -> None:
        """Append END `count` times; the first may be that of the example before."""
        parts += [self._ends(1, self._closed or 0.0), self._ends(count - 1)]
        self.position += count
        self._closed = None

    def _take_back(self, parts: list[Segment]) -> None:
        """Take back the END of an example, which will open the next one."""
        last = parts.pop()
        parts.append(last._replace(ids=last.ids[:-1]))
        self.position -= 1
        self._closed = last.weight


def _joined(parts: Sequence[Ids], dtype: np.dtype) -> np.ndarray:
    return np.concatenate(parts, dtype=dtype, casting="unsafe")  # an empty list is of floats
