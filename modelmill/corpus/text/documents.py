"""The documents of a text shard, each with its split and its pairs or its conversation."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.corpus.split import columns_of, named_split, split_of
from modelmill.corpus.text.cleaning import clean
from modelmill.corpus.text.conversations import contents, formats
from modelmill.corpus.text.conversations.conversation import Preference
from modelmill.corpus.text.conversations.formats import BadConversationError, Example
from modelmill.corpus.text.conversations.names import SOURCE
from modelmill.corpus.text.pairs import Pair, python_docstrings
from modelmill.corpus.text.settings import LanguagePreprocessing, Pairs
from modelmill.data import shards
from modelmill.data.shard import Shard
from modelmill.recipe.sections import SPLIT_FROM

# Characters of the longest name of a source.
_LONGEST_SOURCE = 100


class Document(NamedTuple):
    """A document of a shard.

    Attributes:
        row: Its row in the shard, from 0.
        split: Name of its split.
        text: The text after hygiene.
        pairs: Its pairs for fine-tuning.
        changes: What hygiene changed, as `cleaning.Cleaned` counts it.
        conversations: Its conversation, preference or labelled answer, if it has one; then there are no pairs.
        problem: Reason to leave it out that showed when it was read, one of `rules.REASONS`; empty for none.
        source: Name of where its conversation is from; empty where the data does not say.
    """

    row: int
    split: str
    text: str
    pairs: list[Pair]
    changes: tuple[int, int, int]
    conversations: list[Example] = []
    problem: str = ""
    source: str = ""


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
        for document in read(shard, sha256, settings.for_documents, rows):
            if document.split == "train":
                yield document.text


def read(
    shard: Shard, sha256: str, settings: LanguagePreprocessing, left_out: frozenset[int] = frozenset()
) -> Iterator[Document]:
    """Yield the documents of a shard, as hygiene changes them; a document's split goes by its text before that.

    The text of a conversation is that of its messages, and its split goes by the user's first.

    Args:
        shard: The shard.
        sha256: Digest of the bytes that were validated.
        settings: The recipe's `preprocessing`.
        left_out: Rows that are not in the corpus.

    Raises:
        UserError: A column that the recipe names is missing, null or not text, or a row is no conversation of its
            format.
    """
    start = 0
    pairs = settings.conversations
    for table in shards.Stream(shard, sha256):
        values = {key: _column(table, shard, key, name, start) for key, name in _columns(settings).items()}
        rows = None if pairs is None else _rows(table, shard, pairs)
        for place in range(table.num_rows):
            row = start + place
            if row in left_out:
                continue
            here = {key: column[place] for key, column in values.items()}
            if pairs is None or rows is None:
                yield _document(row, here, settings)
            else:
                said = {name: column[place] for name, column in rows.items()}
                yield _conversation(row, here, said, settings, pairs, shard.path)
        start += table.num_rows


def _columns(settings: LanguagePreprocessing) -> dict[str, str]:
    """Return the columns of text to read, by the recipe's key that names them."""
    columns = {} if settings.conversations else {"preprocessing.text": settings.text}
    columns |= columns_of(settings)
    if settings.pairs is not None and settings.pairs.source == "columns":
        columns["preprocessing.pairs.prompt"] = settings.pairs.prompt
        columns["preprocessing.pairs.response"] = settings.pairs.response
    return columns


def _document(row: int, values: dict[str, str], settings: LanguagePreprocessing) -> Document:
    text = values["preprocessing.text"]
    split = split_of(values.get("preprocessing.split_by", text), settings, values.get(SPLIT_FROM))
    cleaned = clean(text, settings.hygiene)
    made: list[Pair] = []
    if "preprocessing.pairs.prompt" in values:
        both = (values[f"preprocessing.pairs.{name}"] for name in ("prompt", "response"))
        made = [Pair(*(clean(part, settings.hygiene).text for part in both))]
    elif settings.pairs is not None:
        made = python_docstrings(cleaned.text)
    return Document(row, split, cleaned.text, made, cleaned[1:])


def _conversation(
    row: int, named: dict[str, str], said: dict[str, Any], settings: LanguagePreprocessing, pairs: Pairs, where: str
) -> Document:
    """Return the document that is a conversation.

    Args:
        row: Its row in the shard, from 0.
        named: What decides its split, by the recipe's key of the column; else it is the user's first message.
        said: The row's values by the format's standard names.
        settings: The recipe's `preprocessing`.
        pairs: Their section `pairs`.
        where: Name of the shard in errors.
    """
    try:
        example = formats.of_row(pairs.source, said)
    except BadConversationError as error:
        if pairs.malformed == "refuse":
            raise UserError(
                f"preprocessing.pairs.from: {pairs.source}: {where} row {row + 1}: {error}; correct the row, or leave "
                "such rows out with preprocessing.pairs.malformed: leave_out"
            ) from None
        return Document(row, "train", "", [], (0, 0, 0), problem="malformed")
    split_by = named.get("preprocessing.split_by")
    identity = contents.identity_of(example) if split_by is None else split_by
    split = split_of(identity, settings, named.get(SPLIT_FROM))
    if isinstance(example, Preference) and example.chosen == example.rejected:
        if pairs.equal == "refuse":
            raise UserError(
                f"preprocessing.pairs.equal: refuse: {where} row {row + 1}: chosen and rejected are equal; correct the "
                "row, or leave such rows out with preprocessing.pairs.equal: drop"
            )
        return Document(row, split, "", [], (0, 0, 0), problem="equal_answers")
    cleaned = clean(contents.text_of(example), settings.hygiene)
    if settings.hygiene.unicode or settings.hygiene.redact:
        example = contents.mended(example, lambda text: clean(text, settings.hygiene).text)
    return Document(row, split, cleaned.text, [], cleaned[1:], [example], source=_source(said))


def _source(said: dict[str, Any]) -> str:
    """Return the name of where a row is from, if its column holds names and not, say, whole texts."""
    value = said.get(SOURCE)
    name = str(value) if isinstance(value, str | int) else ""
    return name if len(name) <= _LONGEST_SOURCE and name.isprintable() else ""


def _rows(table: Any, shard: Shard, pairs: Pairs) -> dict[str, list[Any]]:
    """Return the columns of a format by their standard names."""
    for name in formats.FORMATS[pairs.source].required:
        if (column := pairs.columns.get(name, name)) not in table.column_names:
            raise UserError(
                f"preprocessing.pairs.from: {pairs.source}: {shard.path} has no column {column!r}; its columns are "
                f"{', '.join(table.column_names)}; name it with preprocessing.pairs.columns: {{{name}: COLUMN}}"
            )
    known = shard.schema.names if shard.schema is not None else table.column_names
    for name, column in pairs.columns.items():
        # An optional column may be missing in some shards of rows with keys, but not in all of them.
        if column not in known and column not in table.column_names:
            raise UserError(
                f"preprocessing.pairs.columns: {name}: no shard has a column {column!r}; the columns are "
                f"{', '.join(known)}; correct the name, or leave it out"
            )
    named = formats.columns(pairs.source, pairs.columns).items()
    return {name: table.column(column).to_pylist() for name, column in named if column in table.column_names}


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
    if key == SPLIT_FROM:
        return [named_split(value, name, shard.path, row) for row, value in enumerate(values, start=start + 1)]
    if key == "preprocessing.split_by":
        return [str(value) for value in values]
    if values and not isinstance(values[0], str):
        raise UserError(f"{key}: {shard.path}: column {name!r} is not text but {table.schema.field(name).type}")
    return values
