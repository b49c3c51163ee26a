"""What framings have in common: examples with what they were made from, and what happens to those that are too long."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from modelmill.core.errors import UserError
from modelmill.corpus.packing import Example
from modelmill.corpus.text.conversations.conversation import Conversation, Labelled, Preference
from modelmill.corpus.text.pairs import Pair
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.shown import UnfitTemplateError

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
        f"{KEY}: the tokenizer's chat template {why}; correct the data or take another chat model's "
        "tokenizer; where pairs are prompts and responses, you can also set framing: separator"
    )
