"""Held-out documents and responses: their tokens, their texts, and what a row says of them for every model."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from modelmill.champion.comparison import rows
from modelmill.measures import contamination
from modelmill.tasks.language_modeling.packed_windows import PackedTokens

# The least bytes of text of a middling example, and of a long one.
MIDDLING, LONG = 1000, 10_000
Row = dict[str, Any]


class Runs(NamedTuple):
    """The runs of learned tokens in a split, in order: the responses, or the assistant's turns of a conversation.

    Attributes:
        documents: Number within the split of the document that each run is in, int64, (runs,).
        begins: Place in that document of each run's first token, int64, (runs,).
        tokens: The tokens of each run; a token that opens the next document too is among them.
        before: Runs before each shard, int64, (shards + 1,).
        by_token: For each shard, the number within the shard of the last run that has begun, int64, (tokens,).
    """

    documents: np.ndarray
    begins: np.ndarray
    tokens: list[np.ndarray]
    before: np.ndarray
    by_token: list[np.ndarray]


def of_split(task: Any, kind: str, split: str) -> PackedTokens:
    """Return the windows of a split's documents or pairs, whatever the objective.

    Args:
        task: The task, as `make_task` returns it.
        kind: `documents` or `pairs`.
        split: The split.
    """
    return PackedTokens(task.files, split, kind, task.length)


def tokenizer_of(task: Any) -> Tokenizer:
    """Return the corpus's tokenizer."""
    return Tokenizer.from_file(str(task.files["tokenizer/tokenizer.json"]))


def described(task: Any, kind: str, held_out: Any) -> dict[int, Row]:
    """Return the columns of a row that are the same for every model, by the example's number in the split.

    Args:
        task: The task, as `make_task` returns it.
        kind: `documents` or `pairs`.
        held_out: The held-out examples.
    """
    seen = contamination.of_tokens(held_out, of_split(task, kind, "train"))
    texts = _texts(tokenizer_of(task), held_out)
    ids = rows.unique_ids(rows.id_of(*both) for both in texts.values())
    return {
        number: {
            "example": example,
            "set": kind,
            "slices": [f"length={length_of(predicted)}"],
            "bytes": float(len(predicted.encode())),
            "contaminated": number in seen,
        }
        for (number, (_, predicted)), example in zip(texts.items(), ids, strict=True)
    }


def spans(examples: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the tokens of each document or pair, and which of them are learned; the END before it is never."""
    for shard in examples.shards:
        for begin, end in itertools.pairwise(shard.offsets.tolist()):
            tokens = shard.tokens[begin:end]
            learned = np.ones(len(tokens), bool) if shard.learned is None else shard.learned[begin:end].astype(bool)
            learned[:1] = shard.learned is None
            yield tokens, learned


def runs_of(examples: Any) -> Runs:
    """Return the runs of learned tokens in a split of pairs or conversations."""
    documents, begins, tokens, before, by_token, earlier = [], [], [], [0], [], 0
    for shard in examples.shards:
        learned = shard.learned.astype(np.int8)
        learned[:1] = 0
        steps = np.diff(learned, prepend=0)
        first, last = np.flatnonzero(steps == 1), np.flatnonzero(np.append(steps, -learned[-1:]) == -1)
        # The token before a run is always one of its own document.
        owner = np.searchsorted(shard.offsets, first - 1, side="right") - 1
        documents.append(earlier + owner)
        begins.append(first - shard.offsets[owner])
        tokens += [shard.tokens[begin:end] for begin, end in zip(first, last, strict=True)]
        before.append(before[-1] + len(first))
        by_token.append(np.cumsum(steps == 1) - 1)
        earlier += shard.documents
    return Runs(_joined(documents), _joined(begins), tokens, np.array(before), by_token)


def tokens_of(examples: Any, number: int) -> np.ndarray:
    """Return the tokens of a document or pair.

    Args:
        examples: The split.
        number: Its number in the split.
    """
    firsts = np.cumsum([0, *(shard.documents for shard in examples.shards)])
    shard = int(np.searchsorted(firsts, number, side="right")) - 1
    begin, end = examples.shards[shard].offsets[number - firsts[shard] :][:2]
    return np.array(examples.shards[shard].tokens[begin:end])


def length_of(text: str) -> str:
    """Return the name of the slice of texts of about this length."""
    size = len(text.encode())
    return "short" if size < MIDDLING else "middling" if size < LONG else "long"


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _texts(tokenizer: Tokenizer, examples: Any) -> dict[int, tuple[str, str]]:
    """Return the given and the predicted text of each document or pair with something to predict."""
    parts: dict[int, list[list[int]]] = {}
    for number, (tokens, learned) in enumerate(spans(examples)):
        if learned.any():
            parts[number] = [tokens[~learned].tolist(), tokens[learned].tolist()]
    texts = tokenizer.decode_batch([part for both in parts.values() for part in both], skip_special_tokens=True)
    return dict(zip(parts, zip(texts[::2], texts[1::2], strict=True), strict=True))
