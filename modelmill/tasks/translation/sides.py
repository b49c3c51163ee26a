"""The two sides of a translation as a checkpoint's tokenizer has them: what it puts around a text, and back again.

Serving reads them, too, so neither transformers nor tokenizers is imported before it is needed.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

FILE = "sides.json"
SIDES = ("source", "target")
# The tokenizer whose ids are the model's, and which reads both sides unless they have tokenizers of their own.
SHARED = "tokenizer.json"
# What transformers does after decoding where a tokenizer's `clean_up_tokenization_spaces` is set.
_CLEANED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


class Side(NamedTuple):
    """One side of a translation.

    Attributes:
        tokenizer: File with the tokenizer that reads it.
        prefix: Text that is read before each text.
        before: Ids before those of a text.
        after: Ids after those of a text.
        vocabulary: File with the ids of the tokenizer's pieces; None where the tokenizer has them itself.
        unknown: Id of a piece that has none there.
    """

    tokenizer: str
    prefix: str
    before: list[int]
    after: list[int]
    vocabulary: str | None = None
    unknown: int = 0


class Sides(NamedTuple):
    """Both sides.

    Attributes:
        source: The side that is read.
        target: The side that is written.
        length: Most tokens of a text, those around it included.
        language: Id of the token that tells the decoder which language to write; None where there is none.
        strips: Whether spaces around what is written are taken out.
        cleans: Whether spaces before punctuation are taken out of what is written, as older tokenizers ask for.
    """

    source: Side
    target: Side
    length: int
    language: int | None
    strips: bool
    cleans: bool

    def to_json(self) -> bytes:
        """Return the content of `FILE`."""
        content = self._asdict() | {"source": self.source._asdict(), "target": self.target._asdict()}
        return json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True).encode()


def read(file: Path) -> Sides:
    """Return the sides that a file holds, as `Sides.to_json` has written it."""
    content = json.loads(file.read_text("utf-8"))
    return Sides(**content | {side: Side(**content[side]) for side in SIDES})


class Encoder:
    """The encoder of one side; names of special tokens in a text are read as plain text."""

    def __init__(self, folder: Path, side: Side) -> None:
        """Load the side's tokenizer.

        Args:
            folder: Holds the tokenizer.
            side: The side.
        """
        self.side = side
        self.tokenizer = load_tokenizer(folder / side.tokenizer)
        self.numbers: dict[str, int] | None = None
        if side.vocabulary is not None:
            self.numbers = json.loads((folder / side.vocabulary).read_text("utf-8"))

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each text, with those around it."""
        side = self.side
        whole = [side.prefix + text for text in texts] if side.prefix else texts
        # The fast one knows no pieces.
        encode = self.tokenizer.encode_batch_fast if self.numbers is None else self.tokenizer.encode_batch
        return [[*side.before, *self._ids(one), *side.after] for one in encode(whole, add_special_tokens=False)]

    def _ids(self, encoded: Any) -> list[int]:
        if self.numbers is None:
            ids: list[int] = encoded.ids
            return ids
        # As in transformers, a run of letters that the tokenizer does not know is one piece, and may have an id.
        return [self.numbers.get(piece, self.side.unknown) for piece in encoded.tokens]

    def cut(self, text: str, length: int) -> list[int]:
        """Return the ids of one text, of which as much is kept as `length` leaves room for."""
        ids, after = self.ids([text])[0], self.side.after
        return ids if len(ids) <= length else [*ids[: length - len(after)], *after]


class Decoder:
    """The decoder of what is written."""

    def __init__(self, folder: Path, sides: Sides) -> None:
        """Load the shared tokenizer.

        Args:
            folder: Holds the tokenizer.
            sides: The sides.
        """
        self.tokenizer, self.sides = load_tokenizer(folder / SHARED), sides

    def text(self, ids: list[int]) -> str:
        """Return the text that ids stand for, without special tokens."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        for spaced in _CLEANED if self.sides.cleans else ():
            text = text.replace(spaced, spaced.strip())
        return text.strip() if self.sides.strips else text


def load_tokenizer(file: Path) -> Any:
    """Return a tokenizer that reads special tokens as plain text, and neither cuts nor pads."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
