"""Words as ids of a model's tokenizer; it is shipped with the served model.

The words of a text are joined by single spaces and encoded as the tokenizer encodes any text, so that the model sees
them as it has seen texts before. The first piece of a word stands for the word.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np


class Window(NamedTuple):
    """Some words of a text in a row, no longer than a model takes.

    Attributes:
        first: Number of the first word in the text, from 0.
        ids: Ids of their pieces, with the tokens that the tokenizer adds to a text.
        places: Place in `ids` of the first piece of each word, -1 where it has none.
        added: How many of the tokens at its end the tokenizer has added.
    """

    first: int
    ids: list[int]
    places: list[int]
    added: int


def windows(tokenizer: Any, words: Sequence[str], most: int) -> list[Window]:
    """Return all words of a text in windows, each with as many words as fit.

    A word that is longer than a window by itself loses its end.

    Args:
        tokenizer: A `tokenizers.Tokenizer`, without truncation and padding.
        words: The words.
        most: The most ids of a window.
    """
    made: list[Window] = []
    first = 0
    while first < len(words):
        # Hardly a word is less than one piece, so no more than `most` are worth a try.
        window = _window(tokenizer, words[first : first + most], first)
        while len(window.ids) > most and len(window.places) > 1:
            window = _window(tokenizer, words[first : first + _fitting(window, most)], first)
        made.append(_cut(window, most))
        first += len(window.places)
    return made


def _window(tokenizer: Any, words: Sequence[str], first: int) -> Window:
    encoding = tokenizer.encode(" ".join(words))
    are_added = np.array(encoding.special_tokens_mask, bool)
    ends = np.array([end - 1 for end in accumulate(len(word) + 1 for word in words)])
    # Spaces before a word belong to it.
    numbers = np.searchsorted(ends, [start for start, _ in encoding.offsets], side="right")
    places = [-1] * len(words)
    for place in reversed(np.flatnonzero(~are_added & (numbers < len(words))).tolist()):
        places[numbers[place]] = place
    added = len(are_added) if are_added.all() else int(np.argmin(are_added[::-1]))
    return Window(first, encoding.ids, places, added)


def _fitting(window: Window, most: int) -> int:
    """Return how many words of a window that is too long fit whole, and one where none does."""
    begin_within = sum(place <= most - window.added for place in window.places)
    return max(1, min(begin_within, len(window.places)) - 1)


def _cut(window: Window, most: int) -> Window:
    """Return a window of one word that is too long without the end of the word."""
    if len(window.ids) <= most:
        return window
    rest = window.ids[len(window.ids) - window.added :]
    return window._replace(ids=[*window.ids[: most - window.added], *rest])
