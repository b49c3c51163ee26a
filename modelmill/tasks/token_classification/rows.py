"""The rows of a shard as words with tags, checked."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.corpus.split import split_of
from modelmill.data import shards
from modelmill.data.shard import Shard
from modelmill.tasks.token_classification import bio
from modelmill.tasks.token_classification.recipe import TaggingPreprocessing


class Tagged(NamedTuple):
    """A text.

    Attributes:
        row: Number of its row in the shard, from 1.
        split: Name of its split.
        id: Identity, equal for equal rows.
        words: Its words, one at least.
        tags: Their tags in the BIO scheme.
    """

    row: int
    split: str
    id: int
    words: list[str]
    tags: list[str]


def read(shard: Shard, sha256: str, settings: TaggingPreprocessing) -> list[Tagged]:
    """Return the rows of a shard that have words.

    Args:
        shard: The shard.
        sha256: The sha256 that was validated.
        settings: The recipe's section.

    Raises:
        UserError: A column is missing, null or no list; a row has more words than tags, or the other way round; a tag
            is none of the scheme or is where it may not be; or the shard has changed.
    """
    table, _ = shards.read(shard, sha256)
    names = {"tokens": settings.tokens, "tags": settings.tags}
    names |= {"split_by": settings.split_by} if settings.split_by else {}
    columns = {key: _values(table, shard, key, name) for key, name in names.items()}
    made = []
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        where = f"{shard.path} row {number}"
        words = [str(one) for one in _listed(values[0], f"preprocessing.tokens: {where}", settings.tokens)]
        tags = _tags(values[1], where, settings, len(words))
        identity = json.dumps([words, tags, *values[2:]], default=str)
        split = split_of(str(values[2]) if settings.split_by else identity, settings)
        if words:
            made.append(Tagged(number, split, int(digest.of_bytes(identity.encode())[:16], 16), words, tags))
    return made


def _values(table: pa.Table, shard: Shard, key: str, name: str) -> list[Any]:
    if name not in table.column_names:
        has = ", ".join(table.column_names)
        raise UserError(f"preprocessing.{key}: {shard.path} has no column {name!r}; its columns are {has}")
    values: list[Any] = table.column(name).to_pylist()
    if None in values:
        where = f"{shard.path} row {values.index(None) + 1}"
        raise UserError(f"preprocessing.{key}: {where}: column {name!r} is null")
    return values


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
