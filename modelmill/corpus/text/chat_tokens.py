"""Token ids of pairs in a chat template; training and the served model share it."""

import bisect
import functools
import re
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelmill.corpus.packing import Example
from modelmill.corpus.text.rendering import PROBE, ChatTemplate, Rendered, UnfitTemplateError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Characters that no text has, as Unicode says, so that they can stand for special tokens.
_OPEN, _CLOSE, _OWN = "\ufdd0", "\ufdd1", "\ufdd2"
_HELD = re.compile(f"{_OPEN}(.){_CLOSE}")
_STANDS = 0xE000


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

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.template = ChatTemplate(folder, day, list(self._tokenizer.get_added_tokens_decoder().values()))
        longest_first = sorted(self.template.special, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        stop = self.template.stop
        self._writes_stop = stop is not None
        self.stop = end if stop is None else _id_of(stop, self._tokenizer)
        asked = self.template.asked(PROBE[0])
        last = max((match.start() for match in self._special.finditer(asked)), default=len(asked))
        # How the template opens each response, from its last special token on; empty if it does so without one.
        self._opens = "" if PROBE[0] in asked[last:] else asked[last:]
        self._opener = next((match.group() for match in self._special.finditer(self._opens)), "")
        self._opening = self._ids(self._opens)
        self._stops_after = self._ids(self.template.rest).count(self.stop)

    def asked(self, prompt: str, room: int | None = None) -> list[int]:
        """Return the ids up to where the response to a prompt begins.

        Args:
            prompt: The prompt.
            room: The most ids; a longer prompt loses its beginning, and the template nothing.
        """
        if room is None:
            return self._asked(prompt)
        return self._asked(self.shortened(prompt, lambda kept: len(self._asked(kept)), room))

    def asked_messages(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> list[int]:
        """Return the ids of a conversation up to where its next answer begins.

        Args:
            messages: The messages.
            tools: JSON schemas of tools.

        Raises:
            UnfitTemplateError: The template fails, or looks at names of special tokens.
        """
        masked = self._masked_in(messages), self._masked_in(tools)
        text = self.template.asked_messages(*masked)
        if masked != (messages, tools) and self._unmasked(text) != self.template.asked_messages(messages, tools):
            raise UnfitTemplateError("looks at the names of special tokens in messages")
        return self._ids(text)

    def shortened(self, prompt: str, measure: Callable[[str], int], room: int) -> str:
        """Return the end of a prompt, whole if it fits.

        Args:
            prompt: The prompt.
            measure: Returns how many ids something with a prompt has.
            room: The most of them.
        """
        kept, dropped = prompt, 0
        while kept and (over := measure(kept) - room) > 0:
            dropped += over
            kept = self.without(prompt, dropped)
        return kept

    def without(self, prompt: str, count: int) -> str:
        """Return a prompt without its first tokens."""
        offsets = self._plain[0].encode(prompt, add_special_tokens=False).offsets
        return prompt[offsets[count][0] :] if count < len(offsets) else ""

    def pair(self, prompt: str, response: str) -> Example:
        """Return a pair as an example.

        Raises:
            UnfitTemplateError: See `ChatTemplate.rendered`.
        """
        return self.examples([self.texts(prompt, response)])[0]

    def examples(self, rendered: Sequence[Rendered]) -> list[Example]:
        """Return rendered pairs as examples, of any length.

        Args:
            rendered: What `texts` returns.
        """
        whole = self._ids_of(["".join(one) for one in rendered])
        return [self._example(one, self._given(one.given, ids), ids) for one, ids in zip(rendered, whole, strict=True)]

    def texts(self, prompt: str, response: str) -> Rendered:
        """Return the texts of a pair; in place of special tokens' names in data stand characters of our own.

        Raises:
            UnfitTemplateError: See `ChatTemplate.rendered`, or the template looks at such names.
        """
        masked = (self._masked(prompt), self._masked(response))
        rendered = self.template.rendered(*masked)
        if masked != (prompt, response):
            plain = self.template.rendered(prompt, response)
            if tuple(map(self._unmasked, rendered)) != plain:
                raise UnfitTemplateError("looks at the names of special tokens in prompt or response")
        return rendered

    def _given(self, text: str, whole: list[int]) -> list[int]:
        """Return the ids of the text up to the response.

        A special token cuts a text in two that do not know of each other. So where the last one is the template's, and
        what comes after it is always the same, the ids are the first of the whole text's, and need not be made again.
        """
        if self._opens and text.endswith(self._opens):
            places = [place for place, token in enumerate(whole) if token == self._opening[0]]
            begin = places[[match.group() for match in self._special.finditer(text)].count(self._opener) - 1]
            end = begin + len(self._opening)
            if whole[begin:end] == self._opening:
                return whole[:end]
        return self._ids(text)

    def _example(self, rendered: Rendered, given: list[int], whole: list[int]) -> Example:
        if whole[: len(given)] == given:
            after = whole[len(given) :]
        else:
            # Joined characters: the model sees a prompt before there is a response, so the prompt's ids are what they
            # are without one. Where the rest cannot be told apart from it, the ids of the whole text count.
            after = self._after_special(rendered.learned + rendered.rest)
            if self._decoded(given + after) != self._decoded(whole):
                given, after = self._cut(rendered.given, whole)
        if not self._writes_stop:
            return Example(given, [*after, self.stop])
        # The last of these, but for those that the rest holds.
        places = [place for place, token in enumerate(after) if token == self.stop]
        end = places[-1 - self._stops_after] + 1
        return Example(given, after[:end], after[end:])

    def _asked(self, prompt: str) -> list[int]:
        masked = self._masked(prompt)
        text = self.template.asked(masked)
        if masked != prompt and self._unmasked(text) != self.template.asked(prompt):
            raise UnfitTemplateError("looks at the names of special tokens in a prompt")
        return self._ids(text)

    def _masked(self, text: str) -> str:
        if any(character in text for character in (_OPEN, _CLOSE, _OWN)):
            raise UnfitTemplateError("cannot show U+FDD0 to U+FDD2, which are no characters")
        if not self._special.search(text):
            return text
        return self._special.sub(lambda m: f"{_OPEN}{chr(_STANDS + self._number(m.group()))}{_CLOSE}", text)

    def _masked_in(self, value: Any) -> Any:
        """Return a value of JSON with all its texts masked."""
        if isinstance(value, str):
            return self._masked(value)
        if isinstance(value, list):
            return [self._masked_in(item) for item in value]
        return {name: self._masked_in(item) for name, item in value.items()} if isinstance(value, dict) else value

    def _unmasked(self, text: str) -> str:
        return _HELD.sub(lambda match: self.template.special[ord(match.group(1)) - _STANDS], text)

    def _number(self, token: str) -> int:
        return self.template.special.index(token)

    def _ids(self, text: str) -> list[int]:
        return self._ids_of([text])[0]

    def _ids_of(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of rendered texts, whose special tokens count, but for masked ones."""
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        pairs = zip(texts, encoded, strict=True)
        return [self._ids_beside_masked(text) if _OPEN in text else one.ids for text, one in pairs]

    def _ids_beside_masked(self, text: str) -> list[int]:
        """Return the ids of a text in which the template's special tokens have other names, and data's are plain."""
        renamed = self._special.sub(lambda match: f"{_OWN}{chr(_STANDS + self._number(match.group()))}", text)
        plain, meant = self._plain
        ids = plain.encode(self._unmasked(renamed), add_special_tokens=False).ids
        return [token for one in ids if (token := meant.get(one, one)) is not None]

    def _after_special(self, text: str) -> list[int]:
        """Return the ids of a text that is not the beginning of one."""
        return self._ids_beside_masked(_OWN + text)

    @functools.cached_property
    def _plain(self) -> "tuple[Tokenizer, dict[int, int | None]]":
        """The tokenizer that reads special tokens as plain text, and the special tokens that stand-ins mean.

        A stand-in is `_OWN` with a character for the special token; alone, it only keeps texts apart.
        """
        from tokenizers import AddedToken, Tokenizer

        tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        tokenizer.encode_special_tokens = True
        special = {n: token for n, token in self._tokenizer.get_added_tokens_decoder().items() if token.special}
        names = {n: f"{_OWN}{chr(_STANDS + self._number(token.content))}" for n, token in special.items()}
        own = [
            AddedToken(names[n], lstrip=token.lstrip, rstrip=token.rstrip, normalized=False)
            for n, token in special.items()
        ]
        tokenizer.add_tokens([*own, AddedToken(_OWN, normalized=False)])
        meant: dict[int, int | None] = {_id_of(name, tokenizer): n for n, name in names.items()}
        return tokenizer, meant | {_id_of(_OWN, tokenizer): None}

    def _decoded(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def _cut(self, given_text: str, whole: list[int]) -> tuple[list[int], list[int]]:
        """Return the ids of the whole text in two, cut after the last that has a character of the given text."""
        prefixes = range(len(whole) + 1)
        size = bisect.bisect_left(
            prefixes, len(self._unmasked(given_text)), key=lambda n: len(self._decoded(whole[:n]))
        )
        return whole[:size], whole[size:]


def _id_of(token: str, tokenizer: "Tokenizer") -> int:
    number: int | None = tokenizer.token_to_id(token)
    assert number is not None
    return number
