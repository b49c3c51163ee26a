"""Token ids of conversations in a chat template; training and the served model share it."""

import functools
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from modelmill.corpus.text.chatted import Chatted, Ids, Turn, joined
from modelmill.corpus.text.conversations.conversation import Message
from modelmill.corpus.text.conversations.exchanges import shortened
from modelmill.corpus.text.marked_text import MarkedText
from modelmill.corpus.text.rendering import ChatTemplate, Rendered
from modelmill.corpus.text.shown import UnfitTemplateError
from modelmill.corpus.text.template_inputs import PROBE, call_probe, probe

Tools = Sequence[dict[str, Any]]


class ChatTokens:
    """A chat template in token ids: the template's special tokens are what they say, those in data plain text.

    Attributes:
        template: The template.
        stop: Id of the token that ends a response.
    """

    def __init__(self, folder: Path, day: date, end: int) -> None:
        """Load a tokenizer with its template.

        Args:
            folder: The tokenizer's folder.
            day: The date that the template writes, if it writes one.
            end: Id of the token that ends texts, and a response where the template writes nothing special.

        Raises:
            UnfitTemplateError: See `ChatTemplate`.
        """
        # The image that registers a serving script imports it, and has no tokenizers.
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.template = ChatTemplate(folder, day, list(tokenizer.get_added_tokens_decoder().values()))
        self.text = MarkedText(tokenizer, self.template.special)
        stop = self.template.stop
        self.stop = end if stop is None else self.text.id_of(stop)
        # How the template opens each response, from its last special token on; empty if it does so without one.
        self._opens = self.text.from_last_special(self.template.asked(probe()[:1]))
        if PROBE[0] in self._opens:
            self._opens = ""
        self._opener = self.text.first_special(self._opens)
        self._opening = self.text.ids(self._opens)

    @functools.cached_property
    def stops(self) -> list[int]:
        """Ids of the tokens that end a message of the assistant: an answer, or a call of a tool."""
        messages, tools = call_probe()
        try:
            called = self._ids_of_last(self.template.turn(messages, tools)).learned[-1:]
        except UnfitTemplateError:
            called = []  # the template has no tools
        return sorted({self.stop, *called})

    def asked(self, prompt: str, room: int | None = None) -> list[int]:
        """Return the ids up to where the response to a prompt begins.

        Args:
            prompt: The prompt.
            room: The most ids; a longer prompt loses its beginning, and the template nothing.
        """
        return self.asked_messages([{"role": "user", "content": prompt}], room=room)

    def asked_messages(self, messages: Sequence[Message], tools: Tools = (), room: int | None = None) -> list[int]:
        """Return the ids up to where the assistant's next message begins.

        Args:
            messages: The messages so far.
            tools: JSON schemas of the tools that the assistant may call.
            room: The most ids. A longer conversation loses its oldest turns, but for system messages, and after that
                the beginning of the first message that is left.

        Raises:
            UnfitTemplateError: The template fails, or does not show a message.
        """
        if room is None:
            return self._asked(messages, tools)
        kept = shortened(messages, lambda some: len(self._asked(some, tools)), room, self.text.without)
        return self._asked(kept, tools)

    def turns(self, messages: Sequence[Message], tools: Tools, weights: Mapping[int, float]) -> list[Turn]:
        """Return the messages that are learned, each as the model is asked for it.

        Args:
            messages: The messages.
            tools: JSON schemas of the tools that the assistant may call.
            weights: Weights in the loss, by the numbers of messages of the assistant.

        Raises:
            UnfitTemplateError: The template fails, or does not show a message as it is.
        """
        masked, masked_tools = self._masked(messages, tools)
        is_plain = (masked, masked_tools) == (list(messages), list(tools))
        made = []
        for number, weight in sorted(weights.items()):
            rendered = self.template.turn(masked[: number + 1], masked_tools)
            if not is_plain:
                plain = self.template.turn(messages[: number + 1], tools)
                _require_same([self.text.unmasked(part) for part in rendered[:3]], list(plain[:3]))
            if rendered.is_generated:
                made.append(Turn(number, weight, rendered))
        return made

    def examples(self, conversations: Sequence[Sequence[Turn]]) -> list[list[Chatted]]:
        """Return conversations as examples, of any length: as few of each as show all turns as they are asked for.

        Where a template shows a past message in other words than when it was asked for (Qwen3 and DeepSeek leave out
        its thinking), an example ends with that message, and other examples with the later ones.

        Args:
            conversations: For each what `turns` returns.
        """
        # Most are one example, so their texts are encoded at once.
        whole = self.text.ids_of([turns[-1].text.whole if turns else "" for turns in conversations])
        return [self._examples(list(turns), ids) for turns, ids in zip(conversations, whole, strict=True)]

    def conversation(self, messages: Sequence[Message], tools: Tools, weights: Mapping[int, float]) -> list[Chatted]:
        """Return a conversation as examples; see `turns` and `examples`.

        Args:
            messages: The messages.
            tools: JSON schemas of the tools that the assistant may call.
            weights: Weights in the loss, by the numbers of messages of the assistant.

        Raises:
            UnfitTemplateError: See `turns`.
        """
        return self.examples([self.turns(messages, tools, weights)])[0]

    def _asked(self, messages: Sequence[Message], tools: Tools) -> list[int]:
        masked, masked_tools = self._masked(messages, tools)
        text = self.template.asked(masked, masked_tools)
        if (masked, masked_tools) != (list(messages), list(tools)):
            _require_same([self.text.unmasked(text)], [self.template.asked(messages, tools)])
        return self.text.ids(text)

    def _masked(self, messages: Sequence[Message], tools: Tools) -> tuple[list[Message], list[Message]]:
        """Return messages and tools with characters of our own in place of special tokens' names."""
        return self.text.masked(list(messages)), self.text.masked(list(tools))

    def _examples(self, turns: list[Turn], whole: list[int]) -> list[Chatted]:
        made: list[Chatted] = []
        while turns:
            *earlier, last = turns
            ids = self._ids_of_last(last.text, None if made else whole)
            given = _Places(ids.given)
            cuts = {turn.number: self._place(turn.text, last.text, given) for turn in earlier}
            made.append(joined([turn for turn in earlier if cuts[turn.number]], cuts, last, ids))
            turns = [turn for turn in earlier if not cuts[turn.number]]
        return made[::-1]

    def _place(self, earlier: Rendered, last: Rendered, given: "_Places") -> tuple[int, int] | None:
        """Return where an earlier message's ids begin and end in a later rendering; None where it shows another."""
        upto = earlier.given + earlier.learned
        stop = self._stop_of(earlier)
        if stop is None or not last.given.startswith(upto):
            return None
        ids = self._given(earlier.given, given)
        places = given.of(self.text.id_of(stop))
        count = self.text.count(upto, stop)
        if given.ids[: len(ids)] != ids or count > len(places) or places[count - 1] < len(ids):
            return None
        return len(ids), places[count - 1] + 1

    def _given(self, text: str, whole: "_Places") -> list[int]:
        """Return the ids of the text up to a response.

        A special token cuts a text in two that do not know of each other. So where the last one is the template's, and
        what comes after it is always the same, the ids are the first of the whole text's, and need not be made again.
        """
        if self._opener and text.endswith(self._opens):
            places = whole.of(self._opening[0])
            count = self.text.count(text, self._opener)
            end = places[count - 1] + len(self._opening) if count <= len(places) else 0
            if whole.ids[end - len(self._opening) : end] == self._opening:
                return whole.ids[:end]
        return self.text.ids(text)

    def _ids_of_last(self, rendered: Rendered, whole: list[int] | None = None) -> Ids:
        """Return the ids of a rendering in three parts.

        Args:
            rendered: The rendering.
            whole: Ids of all of its text, if they are known.
        """
        whole = self.text.ids(rendered.whole) if whole is None else whole
        given = self._given(rendered.given, _Places(whole))
        if whole[: len(given)] == given:
            after = whole[len(given) :]
        else:
            # Joined characters: the model sees a prompt before there is a response, so the prompt's ids are what they
            # are without one. Where the rest cannot be told apart from it, the ids of the whole text count.
            after = self.text.ids_after_special(rendered.learned + rendered.rest)
            if self.text.decoded(given + after) != self.text.decoded(whole):
                given, after = self.text.cut(rendered.given, whole)
        stop = self._stop_of(rendered)
        if stop is None:
            return Ids(given, [*after, self.stop], [])
        # The last of these, but for those that the rest holds.
        places = _Places(after).of(self.text.id_of(stop))
        end = places[-1 - self.text.count(rendered.rest, stop)] + 1
        return Ids(given, after[:end], after[end:])

    def _stop_of(self, rendered: Rendered) -> str | None:
        """Return the token that ends a message; None where the template writes none."""
        ends = [*([self.template.stop] if self.template.stop else []), *self.text.longest_first]
        return next((token for token in ends if rendered.learned.endswith(token)), None)


class _Places:
    """Ids, and where each of some tokens is among them."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids
        self._known: dict[int, list[int]] = {}

    def of(self, token: int) -> list[int]:
        if token not in self._known:
            self._known[token] = [place for place, one in enumerate(self.ids) if one == token]
        return self._known[token]


def _require_same(masked: list[str], plain: list[str]) -> None:
    if masked != plain:
        raise UnfitTemplateError("looks at the names of special tokens in a message")
