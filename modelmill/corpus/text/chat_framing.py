"""The framing of a tokenizer's chat template, for pairs and whole conversations."""

import bisect
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modelmill.corpus import packing
from modelmill.corpus.packing import Segment
from modelmill.corpus.text.chat_tokens import ChatTokens
from modelmill.corpus.text.chatted import Chatted
from modelmill.corpus.text.conversations.conversation import Conversation, Message
from modelmill.corpus.text.conversations.exchanges import cut, exchanges
from modelmill.corpus.text.framed import COUNTED, Framed, Placed, is_left_out, refused, refusing
from modelmill.corpus.text.pairs import Pair
from modelmill.corpus.text.settings import Pairs
from modelmill.corpus.text.shown import UnfitTemplateError, texts_of
from modelmill.corpus.text.template_inputs import PROBE, probe
from modelmill.corpus.text.tokenizer import Encoder

# What is counted of conversations: all that are in the corpus; those that nothing is to be learned of; those that were
# split; messages of the assistant that were left out with old exchanges; and examples beside the first, because the
# template shows past messages in other words.
OF_CONVERSATIONS = (
    *("conversations", "unlearned_conversations", "split_conversations", "left_out_turns", "examples_for_past_turns"),
)


class Part(NamedTuple):
    """A pair or a conversation as messages, or some exchanges of it.

    Attributes:
        messages: The messages.
        tools: JSON schemas of the tools.
        weights: Weight in the loss, by the numbers of the messages that are learned.
    """

    messages: list[Message]
    tools: list[dict[str, Any]]
    weights: dict[int, float]

    @property
    def begins(self) -> str:
        """Return the first text of the user."""
        return next(("".join(texts_of(m)) for m in self.messages if m.get("role") == "user"), "")

    def of(self, numbers: list[int]) -> "Part":
        """Return some of the messages."""
        weights = {place: self.weights[n] for place, n in enumerate(numbers) if n in self.weights}
        return Part([self.messages[number] for number in numbers], self.tools, weights)


class Template:
    """A chat template with a window's room; what framings by one have in common; see `Framing`."""

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
        end = encoder.vocabulary.end
        try:
            self.tokens = ChatTokens(folder, settings.date, end)
            (tried,) = self.tokens.conversation(*_probed())
        except UnfitTemplateError as error:
            raise refused(f"{error}, with a prompt and a response alone") from error
        self.stop = self.tokens.stop
        ids = [token for segment in tried.segments for token in segment.ids]
        self.shares_end = ids[:1] == [end] == ids[-1:]
        self.taken = tried.size - sum(len(ids) for ids in encoder.ids(list(PROBE)))

    def describe(self) -> dict[str, object]:
        """Return what the model's users need to know to frame a prompt."""
        date = self.settings.date.isoformat()
        return {"chat": True, "date": date, "stop": self.stop, "stops": self.tokens.stops, "taken": self.taken}


class Chat(Template):
    """The framing of pairs and conversations by a chat template; see `Framing`."""

    def __init__(self, settings: Pairs, encoder: Encoder, folder: Path, length: int) -> None:
        """Load the template and try it on a pair; see `Template`."""
        super().__init__(settings, encoder, folder, length)
        self.room = packing.room(length, self.shares_end)
        self.kind = "conversations" if settings.source in ("messages", "sharegpt", "alpaca") else "pairs"
        self.counted: tuple[str, ...] = COUNTED if self.kind == "pairs" else (*COUNTED, *OF_CONVERSATIONS)
        self.arrays = frozenset() if self.kind == "pairs" else frozenset({"weights"})

    def describe(self) -> dict[str, object]:
        """Return what the model's users need to know to frame a prompt."""
        return {"kind": self.kind, **super().describe()}

    def examples(self, placed: Sequence[Placed], where: str, counts: Counter[str]) -> list[Framed]:
        """Return pairs or conversations as examples, without those that are dropped; see `Framing.examples`."""
        wholes = [_part(one.pair, self.settings.learn) for one in placed]
        turns = []
        for whole, (_, row) in zip(wholes, placed, strict=True):
            with refusing(f"{where} row {row + 1}", whole.begins):
                turns.append(self.tokens.turns(*whole))
        framed: list[Framed] = []
        for whole, (_, row), chatted in zip(wholes, placed, self.tokens.examples(turns), strict=True):
            with refusing(f"{where} row {row + 1}", whole.begins):
                made = self._fitted(whole, chatted, f"{where} row {row + 1}", counts)
            framed += [Framed(one.segments, self._record(part, one, row)) for part, one in made]
            if self.kind == "conversations":
                counts["conversations"] += bool(made)
                counts["unlearned_conversations"] += not chatted
        return framed

    def _fitted(
        self, whole: Part, chatted: list[Chatted], where: str, counts: Counter[str]
    ) -> list[tuple[Part, Chatted]]:
        """Return the examples of a conversation, each with the part of it that it is of, none longer than the room."""
        size = max((one.size for one in chatted), default=0)
        if size <= self.room:
            return self._kept(whole, chatted, counts)
        if is_left_out(self.settings, counts, where, size, self.room, self.kind.removesuffix("s")):
            return []
        parts = self._split(whole) if self.settings.too_long == "split" else [self._end(whole, counts)]
        if len(parts) > 1:
            counts["split_conversations"] += 1
        return [one for part in parts for one in self._kept(*self._cut(part, counts), counts)]

    def _kept(self, part: Part, chatted: list[Chatted], counts: Counter[str]) -> list[tuple[Part, Chatted]]:
        if self.kind == "conversations":
            counts["examples_for_past_turns"] += max(0, len(chatted) - 1)
        return [(part, one.within(self.room)) for one in chatted]

    def _fits(self, part: Part) -> bool:
        return all(one.size <= self.room for one in self.tokens.conversation(*part))

    def _split(self, whole: Part) -> list[Part]:
        """Return as few runs of exchanges as fit, each with the system messages; one exchange may be too long."""
        found, first, parts = exchanges(whole.messages), 0, []
        while first < len(found.groups):
            end = first + 1
            while end < len(found.groups):
                grown = whole.of(found.numbers(first, end + 1))
                # Turns before the last exchange are shown as they were without it.
                if not self._fits(_learned_of_end(grown, len(found.groups[end]))):
                    break
                end += 1
            parts.append(whole.of(found.numbers(first, end)))
            first = end
        return [part for part in parts if part.weights]

    def _end(self, whole: Part, counts: Counter[str]) -> Part:
        """Return the last exchanges, as many as fit; one may be too long."""
        found = exchanges(whole.messages)
        learned = max(whole.weights)
        last = next((n for n, group in enumerate(found.groups) if learned in group), 0)
        first = bisect.bisect_left(
            range(last), True, key=lambda first: self._fits(whole.of(found.numbers(first, last + 1)))
        )
        part = whole.of(found.numbers(first, last + 1))
        if len(part.weights) < len(whole.weights):
            counts["left_out_turns"] += len(whole.weights) - len(part.weights)
        return part

    def _cut(self, part: Part, counts: Counter[str]) -> tuple[Part, list[Chatted]]:
        """Return a part whose prompt, and if that is not enough whose end, is cut until it fits."""
        chatted = self.tokens.conversation(*part)
        if all(one.size <= self.room for one in chatted):
            return part, chatted

        def measure(messages: Sequence[Message]) -> int:
            return max(one.size for one in self.tokens.conversation(messages, part.tools, part.weights))

        kept = part._replace(messages=cut(part.messages, measure, self.room, self.tokens.text.without))
        counts["cut_prompts"] += kept.messages != part.messages
        chatted = [self._trimmed(one, counts) for one in self.tokens.conversation(*kept)]
        return kept, [one for one in chatted if any(segment.weight for segment in one.segments)]

    def _trimmed(self, whole: Chatted, counts: Counter[str]) -> Chatted:
        """Return an example whose last response has lost its end, after which no stop is learned, if it is too long."""
        if whole.size <= self.room:
            return whole
        segments, left = [], self.room - self.shares_end
        for segment in whole.segments[:-1]:
            segments.append(segment._replace(ids=segment.ids[:left]))
            left -= len(segments[-1].ids)
        counts["cut_responses"] += 1
        kept = [segment if len(segment.ids) else segment._replace(weight=0.0) for segment in segments]
        return whole._replace(segments=[*kept, Segment([self.stop] if self.shares_end else [])])

    def _record(self, part: Part, chatted: Chatted, row: int) -> dict[str, Any] | None:
        """Return the messages of an example for people, and how many tokens are learned of each."""
        if self.kind == "pairs":
            return None
        learned = [segment for segment in chatted.segments if segment.weight]
        sizes = [[number, len(segment.ids)] for number, segment in zip(chatted.turns, learned, strict=False)]
        messages = part.messages[: chatted.turns[-1] + 1]
        return {"row": row, "messages": messages, "tools": part.tools, "learned": sizes}


def _part(pair: Any, learn: str) -> Part:
    """Return a pair or a conversation with what is to be learned of it."""
    if isinstance(pair, Pair):
        messages = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]
        return Part(messages, [], {1: 1.0})
    assert isinstance(pair, Conversation)
    roles = [message.get("role") for message in pair.messages]
    asked = max((number for number, role in enumerate(roles) if role == "user"), default=-1)
    first = asked if learn == "last_turn" else -1
    weights = pair.weights or [1.0] * len(roles)
    learned = {n: weights[n] for n, role in enumerate(roles) if role == "assistant" and n > first and weights[n] > 0}
    return Part(pair.messages, pair.tools, learned)


def _learned_of_end(part: Part, count: int) -> Part:
    """Return a part of which only turns among the last `count` messages are learned."""
    begin = len(part.messages) - count
    return part._replace(weights={number: weight for number, weight in part.weights.items() if number >= begin})


def _probed() -> tuple[list[Message], list[dict[str, Any]], dict[int, float]]:
    return probe(), [], {1: 1.0}
