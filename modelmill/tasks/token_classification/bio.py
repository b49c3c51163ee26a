"""Tags of words in the BIO scheme, and the entities that they stand for; it is shipped with the served model.

`B-kind` begins an entity, `I-kind` goes on with it, and `O` is outside of all (Ramshaw and Marcus, 1995,
https://aclanthology.org/W95-0107; with a `B` at every beginning, it is also called IOB2).
"""

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

OUTSIDE, BEGIN, INSIDE = "O", "B-", "I-"
# What other schemes call the same: an entity of one word, and the last word of a longer one.
_SINGLE, _END = "S-", "E-"


class Entity(NamedTuple):
    """Words that belong together.

    Attributes:
        kind: Kind of the entity, such as `person`.
        first: Number of its first word, from 0.
        end: Number of the word after its last one.
    """

    kind: str
    first: int
    end: int


class WrongTag(ValueError):
    """A tag that is none of the scheme, or is not where it may be."""


def classes(kinds: Iterable[str]) -> list[str]:
    """Return all tags of some kinds of entities, `O` first."""
    return [OUTSIDE, *(prefix + kind for kind in sorted(set(kinds)) for prefix in (BEGIN, INSIDE))]


def kind_of(tag: str) -> str | None:
    """Return the kind of entity that a tag is of; None for `O`."""
    return None if tag == OUTSIDE else tag[len(BEGIN) :]


def converted(tags: Sequence[str], scheme: str) -> list[str]:
    """Return tags of another scheme in this one.

    Args:
        tags: The tags of a text's words.
        scheme: `bio`; `iob1`, where an entity begins with `I-` unless one of its kind is before it; or `bioes`, where
            the last word of an entity has `E-`, and its only word `S-`.

    Raises:
        WrongTag: They are not of that scheme.
    """
    made: list[str] = []
    for place, tag in enumerate(tags):
        one = _converted(tag, made[-1] if made else OUTSIDE, scheme)
        if one is None:
            raise WrongTag(f"tag {place + 1} is {tag!r}, which is no tag of {scheme}")
        if not may_follow(made[-1] if made else OUTSIDE, one):
            before = f"{tags[place - 1]!r} is before it" if place else "nothing is before it"
            raise WrongTag(f"tag {place + 1} is {tag!r}, and {before}")
        made.append(one)
    return made


def _converted(tag: str, before: str, scheme: str) -> str | None:
    prefix, kind = tag[: len(BEGIN)], tag[len(BEGIN) :]
    if tag == OUTSIDE:
        return tag
    if not kind:
        return None
    if scheme == "bioes":
        prefix = {_SINGLE: BEGIN, _END: INSIDE}.get(prefix, prefix)
    if scheme == "iob1" and prefix == INSIDE and kind_of(before) != kind:
        prefix = BEGIN
    return prefix + kind if prefix in (BEGIN, INSIDE) else None


def may_follow(before: str, tag: str) -> bool:
    """Return whether a tag may stand after another one; the tag before a text is `O`."""
    return not tag.startswith(INSIDE) or kind_of(before) == kind_of(tag)


def without_other(tags: Sequence[str], kinds: Iterable[str]) -> list[str]:
    """Return tags with `O` in the place of those of other kinds."""
    wanted = {None, *kinds}
    return [tag if kind_of(tag) in wanted else OUTSIDE for tag in tags]


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a text, in order.

    Args:
        tags: A tag for each word, each of which may follow the one before it.
    """
    found: list[Entity] = []
    for place, tag in enumerate(tags):
        kind = kind_of(tag)
        if kind is None:
            continue
        if tag.startswith(BEGIN):
            found.append(Entity(kind, place, place + 1))
        else:
            found[-1] = found[-1]._replace(end=place + 1)
    return found


def of_words(scores: np.ndarray, places: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the scores of words, each of which has those of its first token; a word without one is surely `O`.

    Args:
        scores: Logarithms of the tags' probabilities, float64, (tokens, tags).
        places: Place of each word's first token, -1 where it has none, (words,).
        names: Names of the tags.
    """
    outside = np.full(len(names), np.log(np.finfo(np.float64).tiny))
    outside[names.index(OUTSIDE)] = 0.0
    return np.where((places >= 0)[:, None], scores[np.maximum(places, 0)], outside)


def decode(scores: np.ndarray, names: Sequence[str]) -> list[int]:
    """Return the numbers of the most probable tags of a text, of those sequences in which each tag may follow.

    Viterbi, 1967, https://doi.org/10.1109/TIT.1967.1054010. A tag is as probable as the model says of its word alone.

    Args:
        scores: Logarithms of the tags' probabilities, float64, (words, tags).
        names: Names of the tags.
    """
    steps = _steps(tuple(names))
    if not len(scores):
        return []
    # The beginning of a text is like the place after an `O`.
    best = scores[0] + steps[names.index(OUTSIDE)]
    came_from: list[np.ndarray] = []
    for row in scores[1:]:
        paths = best[:, None] + steps
        came_from.append(paths.argmax(axis=0))
        best = paths.max(axis=0) + row
    path = [int(best.argmax())]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return path[::-1]


@functools.cache
def _steps(names: tuple[str, ...]) -> np.ndarray:
    """Return 0 where a tag may follow another one, and else -inf: (tags before, tags)."""
    return np.array([[0.0 if may_follow(before, tag) else -np.inf for tag in names] for before in names])
