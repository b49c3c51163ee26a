"""Rows as words with tags, checked."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.corpus.row_notes import Piece
from modelmill.tasks.token_classification import bio
from modelmill.tasks.token_classification.recipe import TaggingPreprocessing


class Tagged(NamedTuple):
    """A text.

    Attributes:
        words: Its words.
        tags: Their tags in the BIO scheme.
    """

    words: list[str]
    tags: list[str]


def tagged(piece: Piece, settings: TaggingPreprocessing) -> Iterator[Tagged]:
    """Yield the words and tags of each row.

    Args:
        piece: Some rows.
        settings: The recipe's section.

    Raises:
        UserError: A value is no list; a row has more words than tags, or the other way round; or a tag is none of the
            scheme or is where it may not be.
    """
    for number, words, tags in zip(piece.rows, piece.values(settings.tokens), piece.values(settings.tags), strict=True):
        where = f"{piece.path} row {number + 1}"
        its = [str(one) for one in _listed(words, f"preprocessing.tokens: {where}", settings.tokens)]
        yield Tagged(its, _tags(tags, where, settings, len(its)))


def _listed(value: Any, where: str, name: str) -> list[Any]:
    """Return a list, which a CSV file has as JSON."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise UserError(f'{where}: column {name!r} has {str(value)[:40]!r}, which is no list, such as ["a", "b"]')
    if any(one is None or isinstance(one, list | dict) for one in found):
        raise UserError(f"{where}: the list in column {name!r} has a null or another list in it")
    return found


def _tags(value: Any, where: str, settings: TaggingPreprocessing, words: int) -> list[str]:
    given = _listed(value, f"preprocessing.tags: {where}", settings.tags)
    if len(given) != words:
        raise UserError(
            f"preprocessing.tags: {where}: {words} words in {settings.tokens!r} and {len(given)} tags in "
            f"{settings.tags!r}; a word has one tag"
        )
    try:
        return bio.converted(_named(given, settings.tag_names), settings.scheme)
    except bio.WrongTag as error:
        raise UserError(
            f"preprocessing.scheme: {where}: {error}; mend the data, or name the scheme that it has: bio, iob1 or bioes"
        ) from error
    except (IndexError, TypeError) as error:
        has = "tags that are numbers" if settings.tag_names is None else f"the tag {error}, which tag_names has not"
        raise UserError(
            f"preprocessing.tag_names: {where}: column {settings.tags!r} has {has}; list the names of all tags there, "
            "in the order of their numbers"
        ) from error


def _named(tags: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """Return the names of tags.

    Raises:
        TypeError: A tag is a number, and there are no names.
        IndexError: A tag is a number without a name.
    """
    named = []
    for tag in tags:
        if isinstance(tag, str):
            named.append(tag)
        elif names is None or isinstance(tag, float):
            raise TypeError
        elif not 0 <= tag < len(names):
            raise IndexError(tag)
        else:
            named.append(names[tag])
    return named
