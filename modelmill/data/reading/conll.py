"""CoNLL: one token a line, its tag in the last column, a blank line after each sentence."""

import re
from collections.abc import Iterable, Iterator

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.reading.blocks import TextBlock

BLOCK = 8 << 20
# The column with tags in CoNLL-U, the universal part of speech, and the number of its columns.
_UPOS, _COLUMNS_OF_U = 3, 10
_DOCUMENT = "-DOCSTART-"
_LIST = pa.list_(pa.string())
# What separates columns; other white space may be part of a token.
_SPACE, _SEPARATOR = " \t\r", re.compile(" +")


def tables(blocks: Iterable[TextBlock], where: str, path: str) -> Iterator[pa.Table]:
    """Yield the sentences, one a row: `tokens` and `tags` as lists of one length.

    Columns are separated by tabs where the first token's line has one, else by white space. Lines that begin a document
    are left out. Of CoNLL-U (`.conllu`) the tags are the universal parts of speech; comments, parts of contractions and
    empty nodes are left out.

    Args:
        blocks: Blocks of the file.
        where: Name of the file in errors.
        path: The file's path, which says by its suffix whether it is CoNLL-U.

    Raises:
        UserError: A line has no tag or another number of columns than those before; the message names it.
    """
    sentences = _Sentences(where, ".conllu" in path.rpartition("/")[2])
    for block in blocks:
        yield sentences.add(block)
    yield sentences.rest()


class _Sentences:
    def __init__(self, where: str, is_universal: bool) -> None:
        self._where, self._is_universal = where, is_universal
        self._is_tabbed: bool | None = None
        self._columns = _COLUMNS_OF_U if is_universal else 0
        self._words: list[tuple[str, str]] = []
        self._held = ""

    def add(self, block: TextBlock) -> pa.Table:
        """Return the sentences that end in a block."""
        done: list[list[tuple[str, str]]] = []
        for number, line in enumerate(block.text.removesuffix("\n").split("\n"), block.first):
            text = line.strip(_SPACE)
            if not text:
                self._end(done)
            elif not text.startswith(_DOCUMENT) and not (self._is_universal and text.startswith("#")):
                self._word(text, f"{self._where}:{number}")
        return _table(done)

    def rest(self) -> pa.Table:
        """Return the sentence that the end of the file ends."""
        done: list[list[tuple[str, str]]] = []
        self._end(done)
        return _table(done)

    def _end(self, done: list[list[tuple[str, str]]]) -> None:
        if self._words:
            done.append(self._words)
            self._words = []

    def _word(self, line: str, where: str) -> None:
        if self._is_tabbed is None:
            self._is_tabbed = "\t" in line
        fields = line.split("\t") if self._is_tabbed else _SEPARATOR.split(line)
        self._columns = self._columns or len(fields)
        if len(fields) != self._columns:
            raise UserError(f"{where}: {len(fields)} columns, the lines before have {self._columns}; correct the line")
        if len(fields) < 2:
            raise UserError(f"{where}: {line[:60]!r}: a line of CoNLL has a token and a tag; correct the file")
        if not self._is_universal:
            self._words.append((fields[0], fields[-1]))
        elif fields[0].isdecimal():
            self._words.append((fields[1], fields[_UPOS]))


def _table(sentences: list[list[tuple[str, str]]]) -> pa.Table:
    tokens, tags = ([[pair[side] for pair in words] for words in sentences] for side in (0, 1))
    return pa.table({"tokens": pa.array(tokens, _LIST), "tags": pa.array(tags, _LIST)})
