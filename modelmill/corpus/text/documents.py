"""The documents of a text shard, each with its split and its pairs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.corpus.split import split_of
from modelmill.corpus.text.cleaning import clean
from modelmill.corpus.text.conversations.conversation import Conversation, Labelled, Preference
from modelmill.corpus.text.pairs import Pair, python_docstrings
from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.data import shards
from modelmill.data.shard import Shard


class Document(NamedTuple):
    """A document of a shard.

    Attributes:
        row: Its row in the shard, from 0.
        split: Name of its split.
        text: The text after hygiene.
        pairs: Its pairs for fine-tuning.
        changes: What hygiene changed, as `cleaning.Cleaned` counts it.
        conversations: Its conversations, preferences or labelled answers, where the recipe has such.
    """

    row: int
    split: str
    text: str
    pairs: list[Pair]
    changes: tuple[int, int, int]
    conversations: list[Conversation | Preference | Labelled] = []


def training_texts(
    validated: list[tuple[Shard, str]], settings: LanguagePreprocessing, left_out: list[frozenset[int]]
) -> Iterator[str]:
    """Yield the texts of the training split.

    Args:
        validated: The dataset's shards, each with the sha256 that was validated.
        settings: The recipe's `preprocessing`.
        left_out: For each shard, the rows that are not in the corpus.
    """
    for (shard, sha256), rows in zip(validated, left_out, strict=True):
        for document in read(shard, sha256, settings.model_copy(update={"pairs": None}), rows):
            if document.split == "train":
                yield document.text


def read(
    shard: Shard, sha256: str, settings: LanguagePreprocessing, left_out: frozenset[int] = frozenset()
) -> Iterator[Document]:
    """Yield the documents of a shard, as hygiene changes them; a document's split goes by its text before that.

    Args:
        shard: The shard.
        sha256: Digest of the bytes that were validated.
        settings: The recipe's `preprocessing`.
        left_out: Rows that are not in the corpus.

    Raises:
        UserError: A column that the recipe names is missing, null or not text.
    """
    start = 0
    for table in shards.Stream(shard, sha256):
        values = {key: _column(table, shard, key, name, start) for key, name in _columns(settings).items()}
        for place in range(table.num_rows):
            if start + place not in left_out:
                yield _document(start + place, {key: column[place] for key, column in values.items()}, settings)
        start += table.num_rows


def _columns(settings: LanguagePreprocessing) -> dict[str, str]:
    """Return the columns to read, by the recipe's key that names them."""
    columns = {"preprocessing.text": settings.text}
    if settings.split_by:
        columns["preprocessing.split_by"] = settings.split_by
    if settings.pairs is not None and settings.pairs.source == "columns":
        columns["preprocessing.pairs.prompt"] = settings.pairs.prompt
        columns["preprocessing.pairs.response"] = settings.pairs.response
    return columns


def _document(row: int, values: dict[str, str], settings: LanguagePreprocessing) -> Document:
    text = values["preprocessing.text"]
    split = split_of(values.get("preprocessing.split_by", text), settings)
    cleaned = clean(text, settings.hygiene)
    made: list[Pair] = []
    if "preprocessing.pairs.prompt" in values:
        both = (values[f"preprocessing.pairs.{name}"] for name in ("prompt", "response"))
        made = [Pair(*(clean(part, settings.hygiene).text for part in both))]
    elif settings.pairs is not None:
        made = python_docstrings(cleaned.text)
    return Document(row, split, cleaned.text, made, cleaned[1:])


def _column(table: Any, shard: Shard, key: str, name: str, start: int) -> list[str]:
    """Return the texts of a column.

    Args:
        table: Some rows of the shard.
        shard: The shard.
        key: The recipe's key that names the column.
        name: The column.
        start: How many rows came before, for messages.
    """
    if name not in table.column_names:
        raise UserError(f"{key}: {shard.path} has no column {name!r}; its columns are {', '.join(table.column_names)}")
    values = table.column(name).to_pylist()
    for row, value in enumerate(values, start=start + 1):
        if value is None:
            raise UserError(f"{key}: {shard.path} row {row}: column {name!r} is null")
    if key == "preprocessing.split_by":
        return [str(value) for value in values]
    if values and not isinstance(values[0], str):
        raise UserError(f"{key}: {shard.path}: column {name!r} is not text but {table.schema.field(name).type}")
    return values
