"""The words of a text that is not split yet; it is shipped with the served model."""

import re
from typing import NamedTuple

# Marks that end or begin a word are words of their own; those inside of it, as in `U.S` or `well-known`, are not.
_PUNCTUATED = re.compile(r"\w+(?:[.'\u2019&-]\w+|,\d+)*|[^\s\w]")
_SPACED = re.compile(r"\S+")


class Word(NamedTuple):
    """A word.

    Attributes:
        text: Its characters.
        start: Where it begins in the text, in characters.
    """

    text: str
    start: int

    @property
    def end(self) -> int:
        """Return where it ends in the text."""
        return self.start + len(self.text)


def split(text: str, by: str) -> list[Word]:
    """Return the words of a text.

    Args:
        text: The text.
        by: `spaces`, or `punctuation`, which also splits off the marks at the ends of a word.
    """
    pattern = _SPACED if by == "spaces" else _PUNCTUATED
    return [Word(found.group(), found.start()) for found in pattern.finditer(text)]
