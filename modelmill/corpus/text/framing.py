"""Pairs and conversations as examples for the model: framed, and cut, split, dropped or refused where too long."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.packing import Example, Segment
from modelmill.corpus.text.conversations.conversation import Conversation, Labelled, Preference
from modelmill.corpus.text.pairs import Pair
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.shown import UnfitTemplateError
from modelmill.corpus.text.tokenizer import Encoder

KEY = "preprocessing.pairs.framing: chat"
# What is counted of pairs that are too long.
COUNTED = ("cut_prompts", "cut_responses", "dropped_pairs")


class Placed(NamedTuple):
    """A pair or a conversation, and where it is from.

    Attributes:
        pair: The pair or conversation.
        row: Its row in the shard, from 0.
    """

    pair: Pair | Conversation | Preference | Labelled
    row: int


class Framed(NamedTuple):
    """An example, and what it was made from.

    Attributes:
        segments: The example.
        record: Its messages, as the corpus has them for people; None for a pair.
    """

    segments: Example
    record: Mapping[str, Any] | None = None


class Framing(Protocol):
    """A way to make examples of pairs and conversations.

    Attributes:
        settings: The recipe's `preprocessing.pairs`.
        kind: `pairs`, `conversations`, `preferences` or `labelled`.
        counted: Names of what it counts.
        arrays: What is packed beside `learned`, see `PairStream`.
        stop: Id that ends a response.
        room: The most ids of an example.
    """

    settings: Pairs
    kind: str
    counted: tuple[str, ...]
    arrays: frozenset[str]
    stop: int
    room: int

    @property
    def taken(self) -> int:
        """Return how many ids of an example are not of prompt and response, about."""

    def describe(self) -> dict[str, object]:
        """Return what the model's users need to know to frame a prompt."""

    def examples(self, placed: Sequence[Placed], where: str, counts: Counter[str]) -> list[Framed]:
        """Return examples, without what is dropped.

        Args:
            placed: Pairs or conversations.
            where: The shard, for messages.
            counts: Counts of `counted`, which grow.

        Raises:
            UserError: The template does not show one as it is, or one is too long, and the recipe refuses such.
        """


class Separated:
    """The framing by a separator: what opens a text, prompt, separator, response, END; see `Framing`.

    Attributes:
        before: Ids before the prompt.
        between: Ids between prompt and response.
    """

    kind = "pairs"
    counted = COUNTED
    arrays: frozenset[str] = frozenset()

    def __init__(self, settings: Pairs, encoder: Encoder, length: int) -> None:
        """Frame pairs with a vocabulary's END and separator.

        Args:
            settings: The recipe's `preprocessing.pairs`.
            encoder: The encoder of texts.
            length: The sequence length of training.
        """
        vocabulary = encoder.vocabulary
        self.settings = settings
        self.before, self.between, self.stop = (
            vocabulary.opening or [vocabulary.end],
            vocabulary.separator,
            vocabulary.end,
        )
        self.room = packing.room(length, shares_end=not vocabulary.opening)
        self._encoder = encoder
        self._arrays = [np.array(part, encoder.dtype) for part in (self.before, self.between, [self.stop])]

    @property
    def taken(self) -> int:
        """Return how many ids of an example are not of prompt and response."""
        return len(self.before) + len(self.between) + 1

    def describe(self) -> dict[str, object]:
        """Return what the model's users need to know to frame a prompt."""
        frame = {"before": self.before, "between": self.between, "after": [self.stop], "stop": self.stop}
        return {"kind": self.kind, **frame, "trims": False}

    def examples(self, placed: Sequence[Placed], where: str, counts: Counter[str]) -> list[Framed]:
        """Return the pairs as examples, without those that are dropped; see `Framing.examples`."""
        prompts, responses = (self._encoder.ids([one.pair[part] for one in placed]) for part in (0, 1))
        examples = []
        for one, prompt, response in zip(placed, prompts, responses, strict=True):
            over = self.taken + len(prompt) + len(response) - self.room
            if over <= 0:
                examples.append(self._example(prompt, response))
            elif not is_left_out(self.settings, counts, f"{where} row {one.row + 1}", self.room + over, self.room):
                left = self.room - self.taken
                counts["cut_prompts"] += bool(len(prompt))
                counts["cut_responses"] += len(response) > left
                examples.append(self._example(prompt[min(over, len(prompt)) :], response[:left], len(response) > left))
        return examples

    def _example(self, prompt: np.ndarray, response: np.ndarray, is_cut: bool = False) -> Framed:
        before, between, stop = self._arrays
        given = Segment(np.concatenate([before, prompt, between]))
        if is_cut:
            return Framed([given, Segment(response, 1.0), Segment(stop)])
        return Framed([given, Segment(np.concatenate([response, stop]), 1.0)])


def framing_of(settings: Pairs, encoder: Encoder, folder: Path, length: int) -> Framing:
    """Return the framing that the recipe asks for.

    Args:
        settings: The recipe's `preprocessing.pairs`.
        encoder: The encoder of texts.
        folder: The tokenizer's folder.
        length: The sequence length of training.

    Raises:
        UserError: The template fails, or nothing is left for prompt and response beside the frame.
    """
    from modelmill.corpus.text.answer_framing import Answers
    from modelmill.corpus.text.chat_framing import Chat

    chosen: Framing
    if settings.framing != "chat":
        chosen = Separated(settings, encoder, length)
    elif settings.source in ("preferences", "labelled"):
        chosen = Answers(settings, encoder, folder, length)
    else:
        chosen = Chat(settings, encoder, folder, length)
    if chosen.taken + 2 > chosen.room:
        raise UserError(
            f"preprocessing.sequence_length: of {length} tokens the frame of a pair takes {chosen.taken}: nothing is "
            f"left for prompt and response; set it to {4 * chosen.taken} or more"
        )
    return chosen


def is_left_out(settings: Pairs, counts: Counter[str], where: str, size: int, room: int, what: str = "pair") -> bool:
    """Return whether a pair that is too long is dropped.

    Args:
        settings: The recipe's `preprocessing.pairs`.
        counts: Counts, which grow.
        where: Shard and row, for messages.
        size: Its tokens.
        room: How many fit.
        what: Whether it is a pair, a conversation or something else.

    Raises:
        UserError: The recipe refuses it.
    """
    if settings.too_long == "refuse":
        others = "truncate_prompt or drop" if what != "conversation" else "split, truncate_prompt or drop"
        raise UserError(
            f"preprocessing.pairs.too_long: refuse: the {what} of {where} has {size} tokens with its "
            f"frame, and {room} fit; raise preprocessing.sequence_length, or set too_long: {others}"
        )
    if settings.too_long == "drop":
        counts["dropped_pairs"] += 1
    return settings.too_long == "drop"


@contextmanager
def refusing(where: str, begins: str) -> Iterator[None]:
    """Say of which pair it is where the template does not show one.

    Args:
        where: Shard and row.
        begins: How the pair begins.

    Raises:
        UserError: The template does not show the pair.
    """
    try:
        yield
    except UnfitTemplateError as error:
        raise refused(f"{error}, at {where}, with the prompt {begins[:40]!r}") from error


def refused(why: str) -> UserError:
    """Return the error of a template that shows no pair in a form that can be learned.

    Args:
        why: What the template does.
    """
    return UserError(
        f"{KEY}: the tokenizer's chat template {why}; mend what it stumbles over, or set framing: separator"
    )
