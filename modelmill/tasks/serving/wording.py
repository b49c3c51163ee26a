"""The text of an answer, which ends before a text that stops it."""

from collections.abc import Sequence
from typing import Any

# What decoders write for bytes that are no character, or not yet.
_INCOMPLETE = "\ufffd"


class Wording:
    """The text of answers in a tokenizer's words, up to the first of some stops."""

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        """Take a tokenizer.

        Args:
            tokenizer: A `tokenizers.Tokenizer`.
            stops: Texts before which an answer ends.
        """
        self._tokenizer = tokenizer
        self._stops = tuple(stops)

    def text(self, ids: list[int]) -> str:
        """Return the text of an answer, without special tokens."""
        text = self._decode(ids)
        return text[: min((place for stop in self._stops if (place := text.find(stop)) >= 0), default=len(text))]

    def is_over(self, ids: list[int]) -> bool:
        """Return whether there is a stop in an answer."""
        text = self._decode(ids) if self._stops else ""
        return any(stop in text for stop in self._stops)

    def certain(self, ids: list[int]) -> str:
        """Return the part of an answer that no further token changes: no half character or half stop ends it."""
        text = self.text(ids).rstrip(_INCOMPLETE)
        held = (size for stop in self._stops for size in range(1, len(stop)) if text.endswith(stop[:size]))
        return text[: len(text) - max(held, default=0)]

    def _decode(self, ids: list[int]) -> str:
        decoded: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return decoded
