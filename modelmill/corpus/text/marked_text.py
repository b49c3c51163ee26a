"""Token ids of rendered texts, in which a template's special tokens count and those in data are plain text."""

import bisect
import functools
import re
from typing import TYPE_CHECKING, Any, TypeVar

from modelmill.corpus.text.shown import UnfitTemplateError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Characters that no text has, as Unicode says, so that they can stand for special tokens.
_OPEN, _CLOSE, _OWN = "\ufdd0", "\ufdd1", "\ufdd2"
_HELD = re.compile(f"{_OPEN}(.){_CLOSE}")
_STANDS = 0xE000
Value = TypeVar("Value")


class MarkedText:
    """A tokenizer of rendered texts.

    Attributes:
        longest_first: Contents of the special tokens.
    """

    def __init__(self, tokenizer: "Tokenizer", special: list[str]) -> None:
        """Take a tokenizer.

        Args:
            tokenizer: The tokenizer.
            special: Contents of its special tokens.
        """
        self._tokenizer = tokenizer
        self._special = special
        self.longest_first = sorted(special, key=len, reverse=True)
        self._names = re.compile("|".join(map(re.escape, self.longest_first)) or "(?!)")

    def masked(self, value: Value) -> Value:
        """Return a value of JSON with characters of our own in place of special tokens' names.

        Raises:
            UnfitTemplateError: It has such characters.
        """
        masked: Any = value
        if isinstance(value, str):
            masked = self._masked(value)
        elif isinstance(value, dict):
            masked = {self.masked(key): self.masked(one) for key, one in value.items()}
        elif isinstance(value, list):
            masked = [self.masked(one) for one in value]
        return masked

    def unmasked(self, text: str) -> str:
        """Return a text with the special tokens' names where `masked` has put characters."""
        return _HELD.sub(lambda match: self._special[ord(match.group(1)) - _STANDS], text)

    def ids(self, text: str) -> list[int]:
        """Return the ids of a rendered text."""
        return self.ids_of([text])[0]

    def ids_of(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of rendered texts, whose special tokens count, but for masked ones."""
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        pairs = zip(texts, encoded, strict=True)
        return [self._ids_beside_masked(text) if _OPEN in text else one.ids for text, one in pairs]

    def ids_after_special(self, text: str) -> list[int]:
        """Return the ids of a text that is not the beginning of one."""
        return self._ids_beside_masked(_OWN + text)

    def decoded(self, ids: list[int]) -> str:
        """Return the text of ids."""
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def id_of(self, token: str) -> int:
        """Return the id of a token."""
        return _id_of(token, self._tokenizer)

    def count(self, text: str, token: str) -> int:
        """Return how often a rendered text has a token as the template's, not as data's."""
        if token not in self._special:
            return text.count(token)
        return sum(match.group() == token for match in self._names.finditer(text))

    def from_last_special(self, text: str) -> str:
        """Return the end of a text from its last special token on; empty if there is none."""
        return text[max((match.start() for match in self._names.finditer(text)), default=len(text)) :]

    def first_special(self, text: str) -> str:
        """Return the first special token of a text; empty if there is none."""
        return next((match.group() for match in self._names.finditer(text)), "")

    def without(self, text: str, count: int) -> str:
        """Return a plain text without its first tokens."""
        offsets = self._plain[0].encode(text, add_special_tokens=False).offsets
        return text[offsets[count][0] :] if count < len(offsets) else ""

    def cut(self, given_text: str, whole: list[int]) -> tuple[list[int], list[int]]:
        """Return the ids of a whole text in two, cut after the last that has a character of the given text."""
        prefixes = range(len(whole) + 1)
        size = bisect.bisect_left(prefixes, len(self.unmasked(given_text)), key=lambda n: len(self.decoded(whole[:n])))
        return whole[:size], whole[size:]

    def _masked(self, text: str) -> str:
        if any(character in text for character in (_OPEN, _CLOSE, _OWN)):
            raise UnfitTemplateError("cannot show U+FDD0 to U+FDD2, which are no characters")
        return self._names.sub(lambda m: f"{_OPEN}{chr(_STANDS + self._number(m.group()))}{_CLOSE}", text)

    def _number(self, token: str) -> int:
        return self._special.index(token)

    def _ids_beside_masked(self, text: str) -> list[int]:
        """Return the ids of a text in which the template's special tokens have other names, and data's are plain."""
        renamed = self._names.sub(lambda match: f"{_OWN}{chr(_STANDS + self._number(match.group()))}", text)
        plain, meant = self._plain
        ids = plain.encode(self.unmasked(renamed), add_special_tokens=False).ids
        return [token for one in ids if (token := meant.get(one, one)) is not None]

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


def _id_of(token: str, tokenizer: "Tokenizer") -> int:
    number: int | None = tokenizer.token_to_id(token)
    assert number is not None
    return number
