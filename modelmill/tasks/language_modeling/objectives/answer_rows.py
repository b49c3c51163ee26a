"""Batches of prompts with two answers each.

Both answers follow their prompt in one row and see it, but not each other, so that the prompt is computed once. A model
that cannot be fed so takes two rows, in which each answer has a copy of the prompt.
"""

import bisect
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from modelmill.models.cross_entropy import IGNORED, ROWS_AT_ONCE
from modelmill.tasks.contract import Batch
from modelmill.tasks.language_modeling.objectives.answer_files import FIRST, PROMPT, SECOND, AnswerFiles, Kind
from modelmill.tasks.language_modeling.packed_windows import boundaries_of

# Rows that wait for an example that fits: more waste less room, and take longer to look through.
OPEN_ROWS = 64
# Rows that are longer than a sequence are a multiple of this, so that kernels run at full speed.
MULTIPLE = 64
# Name of tensors of the answers that KTO estimates the divergence from, before the names of the others.
MISMATCHED = "mismatched_"
Sides = tuple[int, ...]


class AnswerRows:
    """Rows of examples, each example whole in one row, or in the same place of two.

    A row has `sequence_length` tokens, or as many more as the largest example needs where answers share their prompt.
    The last token of an answer is predicted, but not fed.

    A batch has

    - `input_ids` and `position_ids`, int64, (rows, length), the latter counted from each prompt's start;
    - where answers share prompts, `segments` and `parents`, int64, (rows, length): a token sees earlier ones of its
      own segment and of its parent;
    - else `labels`, (rows, length), and `boundaries`, as those of `PackedTokens`;
    - `places`, `targets` and `owners`, int64, (scored,): the flat place whose hidden state predicts a token, the token,
      and three times the example's number in the batch plus the token's side; padded with ignored targets;
    - `lengths`, fp32, (examples, 2): scored tokens of both answers;
    - `is_good`, bool, (examples,);
    - `reference`, fp32, (examples, 2), if it is known: log-probabilities of both answers under the reference;
    - of labelled answers, the first is in the above, and the second in tensors with `mismatched_` before these names.
    """

    lengths: np.ndarray | None = None

    def __init__(
        self, files: dict[str, Path], split: str, kind: Kind, length: int, *, shares: bool, scores_prompts: bool = False
    ) -> None:
        """Open the shards of a split, and lay out its rows.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split.
            kind: What the corpus holds.
            length: Most tokens of a prompt with an answer.
            shares: Whether the answers of a preference share their prompt.
            scores_prompts: Whether tokens of prompts are scored as well.
        """
        self.files = AnswerFiles(files, split, kind, length)
        self.kind = kind
        self.shares = shares and kind == "preferences"
        self.scores_prompts = scores_prompts
        self.reference: np.ndarray | None = None
        self.length, self.rows = _layout(self.files.sizes, length, self.shares)

    def __len__(self) -> int:
        """Return the number of rows, or pairs of rows."""
        return len(self.rows)

    def examples(self, indices: np.ndarray) -> np.ndarray:
        """Return the numbers of the split's examples in a batch, in the batch's order: int64, (examples,)."""
        return np.concatenate([self.rows[index] for index in indices.tolist()])

    def batch(self, indices: np.ndarray) -> Batch:
        """Return tensors on the CPU for the rows with these numbers."""
        chosen = self.examples(indices)
        # An example may be in a batch twice, where an epoch ends: numbers tell its places apart.
        ends = np.cumsum([len(self.rows[index]) for index in indices.tolist()])
        rows = [list(enumerate(part.tolist(), first)) for first, part in _parts(chosen, ends)]
        if self.shares:
            batch = self._tensors(rows, [(FIRST, SECOND)], len(chosen))
        elif self.kind == "preferences":
            batch = self._tensors(rows, [(FIRST,), (SECOND,)], len(chosen))
        else:
            batch = self._tensors(rows, [(FIRST,)], len(chosen))
            others = self._tensors(rows, [(SECOND,)], len(chosen))
            batch |= {MISMATCHED + name: tensor for name, tensor in others.items()}
        batch["is_good"] = torch.from_numpy(self.files.is_good[chosen])
        if self.reference is not None:
            batch["reference"] = torch.from_numpy(self.reference[chosen]).float()
        return batch

    def describe(self, indices: np.ndarray) -> str:
        """Return where the examples of these rows come from, for a person: the first few of them."""
        chosen = self.examples(indices)
        named = [f"{self.files.stems[self.files.shards[n, 0]]} example {n}" for n in chosen[:3].tolist()]
        return ", ".join(named) + (f" and {len(chosen) - 3} more" if len(chosen) > 3 else "")

    def _tensors(self, rows: list[list[tuple[int, int]]], each: list[Sides], count: int) -> Batch:
        """Return the tensors of rows.

        Args:
            rows: By row its examples, each with its number in the batch.
            each: Sides that follow the prompts; as many rows are made of each.
            count: Examples of the batch.
        """
        made = _Filled(len(rows) * len(each), self.length)
        for row, (examples, sides) in enumerate(itertools.product(rows, each)):
            for number, example in examples:
                parts = {side: self.files.part(example, side) for side in (PROMPT, *sides)}
                made.add(row, number, parts, self.scores_prompts)
        return made.tensors(count, self.shares)


def _parts(examples: np.ndarray, ends: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield consecutive parts of an array, each with its first place."""
    begins = [0, *ends[:-1].tolist()]
    return zip(begins, np.split(examples, ends[:-1]), strict=True)


class _Filled:
    """Rows that are being filled."""

    def __init__(self, rows: int, length: int) -> None:
        self.tokens = np.zeros((rows, length), np.int64)
        self.positions = np.zeros((rows, length), np.int64)
        # A padded place is a segment by itself: it sees itself alone, and no other place sees it.
        self.segments = np.tile(np.arange(length), (rows, 1)) + length
        self.parents = self.segments.copy()
        self.ends = np.zeros(rows, np.int64)
        self.scored: list[np.ndarray] = []  # places, targets and owners, (3, tokens) each

    def add(self, row: int, number: int, parts: dict[int, tuple[np.ndarray, np.ndarray]], scores_prompt: bool) -> None:
        """Append a prompt and the answers that follow it.

        Args:
            row: The row.
            number: Number of the example in the batch.
            parts: Tokens by side, with what is scored of them.
            scores_prompt: Whether the prompt's tokens are scored.
        """
        prompt = parts[PROMPT][0]
        shared = self._put(row, prompt, 0, None)
        if scores_prompt and FIRST in parts:
            self._score(number, PROMPT, np.arange(shared, shared + len(prompt) - 1), prompt[1:], None)
        for side, (tokens, learned) in parts.items():
            if side == PROMPT:
                continue
            first = self._put(row, tokens[:-1], len(prompt), shared)
            places = np.concatenate([[shared + len(prompt) - 1], np.arange(first, first + len(tokens) - 1)])
            self._score(number, side, places, tokens, learned)

    def tensors(self, examples: int, shares: bool) -> Batch:
        """Return the tensors of the rows.

        Args:
            examples: Number of examples.
            shares: Whether answers share prompts.
        """
        places, targets, owners = np.concatenate([np.zeros((3, 0), np.int64), *self.scored], axis=1)
        lengths = np.bincount(owners, minlength=3 * examples).reshape(examples, 3)[:, 1:]
        room = max(1, -(-len(places) // ROWS_AT_ONCE)) * ROWS_AT_ONCE - len(places)
        batch = {
            "input_ids": torch.from_numpy(self.tokens),
            "position_ids": torch.from_numpy(self.positions),
            "places": F.pad(torch.from_numpy(places), (0, room)),
            "targets": F.pad(torch.from_numpy(targets), (0, room), value=IGNORED),
            "owners": F.pad(torch.from_numpy(owners), (0, room)),
            "lengths": torch.from_numpy(lengths.astype(np.float32)),
        }
        if shares:
            return batch | {"segments": torch.from_numpy(self.segments), "parents": torch.from_numpy(self.parents)}
        labels = np.full(self.tokens.size, IGNORED, np.int64)
        labels[places] = targets
        batch["labels"] = torch.from_numpy(labels.reshape(self.tokens.shape))
        boundaries = boundaries_of(batch["position_ids"], torch.from_numpy(self.ends))
        return batch if boundaries is None else batch | {"boundaries": boundaries}

    def _put(self, row: int, tokens: np.ndarray, position: int, parent: int | None) -> int:
        """Append tokens as a segment, and return their first flat place.

        Args:
            row: The row.
            tokens: The tokens.
            position: Position of the first.
            parent: First flat place of the prompt that they follow; None for a prompt.
        """
        begin = int(self.ends[row])
        place = row * self.tokens.shape[1] + begin
        where = slice(begin, begin + len(tokens))
        self.tokens[row, where] = tokens
        self.positions[row, where] = np.arange(position, position + len(tokens))
        self.segments[row, where] = begin
        self.parents[row, where] = begin if parent is None else parent % self.tokens.shape[1]
        self.ends[row] += len(tokens)
        return place

    def _score(
        self, number: int, side: int, places: np.ndarray, tokens: np.ndarray, learned: np.ndarray | None
    ) -> None:
        scored = np.stack([places, tokens, np.full(len(tokens), 3 * number + side)])
        self.scored.append(scored if learned is None else scored[:, learned])


def _layout(sizes: np.ndarray, length: int, shares: bool) -> tuple[int, list[np.ndarray]]:
    """Return the length of rows, and the numbers of each row's examples.

    An example goes into the fullest row that has room for it.

    Args:
        sizes: Tokens of prompts and answers, (examples, 3).
        length: Most tokens of a prompt with an answer.
        shares: Whether answers share prompts; else each has a row, and both rows the same examples.
    """
    prompts, answers = sizes[:, 0], np.maximum(sizes[:, 1:] - 1, 0)
    needs = prompts + answers.sum(1) if shares else prompts + answers.max(1, initial=0)
    longest = int(needs.max(initial=0))
    if longest > length:
        length = -(-longest // MULTIPLE) * MULTIPLE
    done: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # room and number of open rows, ascending
    for example, need in enumerate(needs.tolist()):
        place = bisect.bisect_left(rooms, (need, -1))
        if place < len(rooms):
            room, row = rooms.pop(place)
            done[row].append(example)
        else:
            room, row = length, len(done)
            done.append([example])
        bisect.insort(rooms, (room - need, row))
        if len(rooms) > OPEN_ROWS:
            rooms.pop(0)
    return length, [np.array(row) for row in done]
