"""Texts as tokens: between two special tokens, or as a checkpoint's own tokenizer renders them."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.example_shards import ShardedWriter, of_text
from modelmill.corpus.row_notes import Piece
from modelmill.corpus.text import given_tokenizer, tokenizer
from modelmill.corpus.text.own_rendering import OwnTokenizer
from modelmill.runtime import weights
from modelmill.tasks.text_classification.framing import framed

# One text, or a pair.
Texts = tuple[str, ...]


class Special(NamedTuple):
    """Ids of special tokens.

    Attributes:
        first: Before a text.
        last: After a text.
        mask: In the place of a hidden token.
        padding: Fills up a row.
    """

    first: int
    last: int
    mask: int
    padding: int


class Rendered(NamedTuple):
    """A text, or a pair, as a model reads it.

    Attributes:
        ids: Ids of its tokens.
        types: Which text of a pair each token is of.
        is_cut: Whether it has lost tokens, where that is counted.
    """

    ids: list[int]
    types: list[int]
    is_cut: bool = False


class Renderer(Protocol):
    """A way of rendering texts; its instances go to other processes."""

    def size(self) -> int:
        """Return the size of the vocabulary."""
        ...

    def render(self, texts: Sequence[Texts]) -> list[Rendered]:
        """Return texts, or pairs of texts, as a model reads them."""
        ...


class Framing(NamedTuple):
    """The rendering of a model of our own.

    Attributes:
        folder: Folder of the tokenizer.
        content: Digest of the tokenizer.
        length: The most tokens of a text.
        special: Ids of special tokens.
    """

    folder: Path
    content: str
    length: int
    special: Special

    def size(self) -> int:
        """Return the size of the vocabulary."""
        return int(tokenizer.kept(self.folder, self.content).get_vocab_size(with_added_tokens=True))

    def render(self, texts: Sequence[Texts]) -> list[Rendered]:
        """Return texts, or pairs of texts, between special tokens."""
        encoder = tokenizer.kept(self.folder, self.content)
        sides = [encoder.encode_batch_fast(list(side), add_special_tokens=False) for side in zip(*texts, strict=True)]
        ends = (self.length, self.special.first, self.special.last)
        return [Rendered(*framed([one.ids for one in its], *ends)) for its in zip(*sides, strict=True)]


class OwnRendering(NamedTuple):
    """The rendering of a checkpoint's own tokenizer.

    Attributes:
        folder: The checkpoint's description, as `checkpoint.the_checkpoint` gives it.
        length: The most tokens of a text.
    """

    folder: Path
    length: int

    def size(self) -> int:
        """Return the size of the vocabulary."""
        return _own(self.folder, self.length).size

    def render(self, texts: Sequence[Texts]) -> list[Rendered]:
        """Return texts, or pairs of texts, as the tokenizer has them."""
        own = _own(self.folder, self.length)
        return [Rendered(*one) for one in own.render([_plain(one) for one in texts])]

    def padding(self) -> int:
        """Return the id of the token that fills up a row."""
        return _own(self.folder, self.length).padding

    def has_types(self, some: Sequence[Texts]) -> bool:
        """Return whether the model is given types of tokens; of zeros alone, it takes what it takes without.

        Args:
            some: Texts of the data, which are compared with what transformers makes of them.

        Raises:
            UserError: The tokenizer's class renders one in another way.
        """
        own = _own(self.folder, self.length)
        example = tuple("a" for _ in some[0])
        return own.has_types([_plain(one) for one in some]) and any(own.render([_plain(example)])[0].types)


def encode(
    piece: Piece, writer: ShardedWriter, *, renderer: Renderer, columns: tuple[str, ...], has_types: bool
) -> dict[str, dict[str, int]]:
    """Write `tokens` of texts, `types` if the model takes them, and the texts themselves, and count those that are cut.

    Args:
        piece: Rows of a shard.
        writer: Takes the examples.
        renderer: Renders the texts.
        columns: Columns with the texts.
        has_types: Whether the model takes types of tokens.
    """
    dtype = packing.token_type(renderer.size())
    texts = list(zip(*([str(text) for text in piece.values(name)] for name in columns), strict=True))
    rendered = renderer.render(texts)
    for split, identity, its, one in zip(piece.splits, piece.ids, texts, rendered, strict=True):
        values = {"tokens": np.array(one.ids, dtype), "text": of_text(its[0])}
        values |= {"types": np.array(one.types, np.uint8)} if has_types else {}
        values |= {"text_pair": of_text(its[1])} if len(its) > 1 else {}
        writer.add(split, identity, values)
    return {"all": {"cut": sum(one.is_cut for one in rendered)}}


def special_tokens(folder: Path) -> Special:
    """Return the special tokens by the names that BERT's tokenizers use or, where those are missing, by ours.

    Args:
        folder: The tokenizer's folder.

    Raises:
        UserError: The tokenizer lacks one.
    """
    named = given_tokenizer.named_tokens(folder)
    vocabulary = tokenizer.load(folder).get_vocab(with_added_tokens=True)

    def find(*names: str) -> int:
        """Return the id of the first of these tokens that the tokenizer knows."""
        for name in names:
            if named.get(name) in vocabulary:
                return int(vocabulary[named[name]])
        raise UserError(
            f"preprocessing.tokenizer.from: {folder / weights.TOKENIZER[1]} names no {names[0]} that the tokenizer "
            "knows; take the tokenizer of a BERT model, or leave `from` out"
        )

    return Special(
        first=find("cls_token", "bos_token"),
        last=find("sep_token", "eos_token"),
        mask=find("mask_token"),
        padding=find("pad_token"),
    )


@functools.lru_cache(maxsize=1)
def _own(folder: Path, length: int) -> OwnTokenizer:
    return OwnTokenizer(folder, length)


def _plain(texts: Texts) -> Any:
    return texts[0] if len(texts) == 1 else (texts[0], texts[1])
