"""Pairs as examples for the model: framed, and cut, dropped or refused where they are too long."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.packing import Example
from modelmill.corpus.text.chat_tokens import ChatTokens
from modelmill.corpus.text.pairs import Pair
from modelmill.corpus.text.rendering import PROBE, UnfitTemplateError
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.tokenizer import Encoder

KEY = "preprocessing.pairs.framing: chat"
# What is counted of pairs that are too long.
COUNTED = ("cut_prompts", "cut_responses", "dropped_pairs")


class Placed(NamedTuple):
    """A pair, and where it is from.

    Attributes:
        pair: The pair.
        row: Its row in the shard, from 0.
    """

    pair: Pair
    row: int


class Separated:
    """The framing by a separator: what opens a text, prompt, separator, response, END.

    Attributes:
        settings: The recipe's `preprocessing.pairs`.
        before: Ids before the prompt.
        between: Ids between prompt and response.
        stop: Id that ends a response.
        room: The most ids of an example.
    """

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
        return {"before": self.before, "between": self.between, "after": [self.stop], "stop": self.stop, "trims": False}

    def examples(self, placed: Sequence[Placed], where: str, counts: Counter[str]) -> list[Example]:
        """Return the pairs as examples, without those that are dropped.

        Args:
            placed: The pairs.
            where: The shard, for messages.
            counts: Counts of `COUNTED`, which grow.

        Raises:
            UserError: A pair is too long, and the recipe refuses such.
        """
        prompts, responses = (self._encoder.ids([one.pair[part] for one in placed]) for part in (0, 1))
        examples = []
        for one, prompt, response in zip(placed, prompts, responses, strict=True):
            over = self.taken + len(prompt) + len(response) - self.room
            if over <= 0:
                examples.append(self._example(prompt, response))
            elif not _is_left_out(self.settings, counts, where, one.row, self.room + over, self.room):
                left = self.room - self.taken
                counts["cut_prompts"] += bool(len(prompt))
                counts["cut_responses"] += len(response) > left
                examples.append(self._example(prompt[min(over, len(prompt)) :], response[:left], len(response) > left))
        return examples

    def _example(self, prompt: np.ndarray, response: np.ndarray, is_cut: bool = False) -> Example:
        before, between, stop = self._arrays
        given = np.concatenate([before, prompt, between])
        return Example(given, response, stop) if is_cut else Example(given, np.concatenate([response, stop]))


class Chat:
    """The framing of the tokenizer's chat template.

    Attributes:
        settings: The recipe's `preprocessing.pairs`.
        tokens: The template in token ids.
        stop: Id that ends a response.
        room: The most ids of an example.
    """

    def __init__(self, settings: Pairs, encoder: Encoder, folder: Path, length: int) -> None:
        """Load the template and try it on a pair.

        Args:
            settings: The recipe's `preprocessing.pairs`.
            encoder: The encoder of texts.
            folder: The tokenizer's folder.
            length: The sequence length of training.

        Raises:
            UserError: The template fails, or shows no pair in a form that can be learned.
        """
        self.settings = settings
        try:
            self.tokens = ChatTokens(folder, settings.date, encoder.vocabulary.end)
            given, learned, rest = self.tokens.pair(*PROBE)
        except UnfitTemplateError as error:
            raise _refused(str(error)) from error
        end = encoder.vocabulary.end
        self.stop = self.tokens.stop
        self._shares_end = given[:1] == [end] == [*learned, *rest][-1:]
        self.room = packing.room(length, self._shares_end)
        self._prompt, self._response = (len(ids) for ids in encoder.ids(list(PROBE)))
        self._probe = given, learned

    @property
    def taken(self) -> int:
        """Return how many ids of an example are not of prompt and response, about."""
        return sum(map(len, self._probe)) - self._prompt - self._response

    def describe(self) -> dict[str, object]:
        """Return what the model's users need to know to frame a prompt."""
        return {"chat": True, "date": self.settings.date.isoformat(), "stop": self.stop, "taken": self.taken}

    def examples(self, placed: Sequence[Placed], where: str, counts: Counter[str]) -> list[Example]:
        """Return the pairs as examples, without those that are dropped.

        Args:
            placed: The pairs.
            where: The shard, for messages.
            counts: Counts of `COUNTED`, which grow.

        Raises:
            UserError: The template does not show a pair as it is, or a pair is too long, and the recipe refuses such.
        """
        rendered = []
        for pair, row in placed:
            with _refusing(pair, where, row):
                rendered.append(self.tokens.texts(*pair))
        examples = []
        for (pair, row), example in zip(placed, self.tokens.examples(rendered), strict=True):
            size = len(example.given) + len(example.learned)
            if size <= self.room:
                examples.append(example._replace(rest=example.rest[: self.room - size]))
            elif not _is_left_out(self.settings, counts, where, row, size, self.room):
                with _refusing(pair, where, row):
                    examples.append(self._cut(pair, example, counts))
        return examples

    def _cut(self, pair: Pair, whole: Example, counts: Counter[str]) -> Example:
        """Return a pair whose prompt, and if that is not enough whose response, is cut."""
        made = {pair.prompt: whole}

        def measure(prompt: str) -> int:
            example = made[prompt] = made.get(prompt) or self.tokens.pair(prompt, pair.response)
            return len(example.given) + len(example.learned)

        kept = self.tokens.shortened(pair.prompt, measure, self.room)
        given, learned, rest = made.get(kept) or self.tokens.pair(kept, pair.response)
        counts["cut_prompts"] += kept != pair.prompt
        left = max(0, self.room - len(given))
        if len(learned) <= left:
            return Example(given, learned, rest[: left - len(learned)])
        counts["cut_responses"] += 1
        if self._shares_end:
            return Example(given, learned[: left - 1], [self.stop])
        return Example(given, learned[:left])


Framing = Separated | Chat


def framing_of(settings: Pairs, encoder: Encoder, folder: Path, length: int) -> Framing:
    """Return the framing that the recipe asks for.

    Args:
        settings: The recipe's `preprocessing.pairs`.
        encoder: The encoder of texts.
        folder: The tokenizer's folder.
        length: The sequence length of training.

    Raises:
        UserError: See `Chat`, or nothing is left for prompt and response beside the frame.
    """
    chosen: Framing
    if settings.framing == "chat":
        chosen = Chat(settings, encoder, folder, length)
    else:
        chosen = Separated(settings, encoder, length)
    if chosen.taken + 2 > chosen.room:
        raise UserError(
            f"preprocessing.sequence_length: of {length} tokens the frame of a pair takes {chosen.taken}: nothing is "
            f"left for prompt and response; set it to {4 * chosen.taken} or more"
        )
    return chosen


def _is_left_out(settings: Pairs, counts: Counter[str], where: str, row: int, size: int, room: int) -> bool:
    """Return whether a pair that is too long is dropped.

    Raises:
        UserError: The recipe refuses it.
    """
    if settings.too_long == "refuse":
        raise UserError(
            f"preprocessing.pairs.too_long: refuse: the pair of {where} row {row + 1} has {size} tokens with its "
            f"frame, and {room} fit; raise preprocessing.sequence_length, or set too_long: truncate_prompt or drop"
        )
    if settings.too_long == "drop":
        counts["dropped_pairs"] += 1
    return settings.too_long == "drop"


@contextmanager
def _refusing(pair: Pair, where: str, row: int) -> Iterator[None]:
    """Say of which pair it is where the template does not show one."""
    try:
        yield
    except UnfitTemplateError as error:
        raise _refused(f"{error}, at {where} row {row + 1}, with the prompt {pair.prompt[:40]!r}") from error


def _refused(why: str) -> UserError:
    return UserError(
        f"{KEY}: the tokenizer's chat template {why}; mend what it stumbles over, or set framing: separator"
    )
