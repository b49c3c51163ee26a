"""Texts and pairs between special tokens, as our own encoder reads them; it is shipped with the served model."""

from collections.abc import Sequence
from typing import NamedTuple


class Framed(NamedTuple):
    """A text, or a pair, with special tokens.

    Attributes:
        ids: Ids of its tokens.
        types: Type of each token: 1 of those of a second text and its end, else 0.
    """

    ids: list[int]
    types: list[int]


def framed(texts: Sequence[Sequence[int]], length: int, first: int, last: int) -> Framed:
    """Return a text, or two, as BERT has them: `first`, and each text with `last` after it.

    Args:
        texts: Ids of one text or of two.
        length: The most tokens; a longer text loses its end, of a pair the longer one.
        first: Id before the first text.
        last: Id after each text.
    """
    kept = _cut(texts, length - 1 - len(texts))
    parts = [[first, *kept[0], last], *([*text, last] for text in kept[1:])]
    return Framed([one for part in parts for one in part], [n for n, part in enumerate(parts) for _ in part])


def _cut(texts: Sequence[Sequence[int]], room: int) -> list[list[int]]:
    if len(texts) == 1:
        return [list(texts[0][:room])]
    one, other = texts
    most = max(room // 2, room - len(other))
    kept = list(one[:most])
    return [kept, list(other[: room - len(kept)])]
