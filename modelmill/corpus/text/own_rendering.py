"""Texts as a checkpoint's own tokenizer renders them: its special tokens around them and, if it has them, type ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from modelmill.core.errors import UserError, one_line
from modelmill.corpus.text import given_tokenizer, tokenizer
from modelmill.recipe.sections import TOKENIZER

# Texts that are compared with what transformers' class makes of them.
COMPARED = 64
# Special tokens that may fill up a row, where no text is rendered with them.
_PADDING = ("pad_token", "eos_token", "unk_token")
# Texts, or pairs of texts.
Texts: TypeAlias = Sequence[str | tuple[str, str]]


class Rendered(NamedTuple):
    """A text, or a pair of texts, as a model reads it.

    Attributes:
        ids: Ids of the tokens, special ones included.
        types: Type of each token: which text of a pair it is of.
        is_cut: Whether the text was longer and has lost tokens.
    """

    ids: list[int]
    types: list[int]
    is_cut: bool


class OwnTokenizer:
    """A checkpoint's tokenizer; special tokens that are written in a text are read as plain text.

    Attributes:
        length: The most tokens of a rendered text.
        size: Size of the vocabulary.
        padding: Id of the token that fills up a row; no text is rendered with it.
    """

    def __init__(self, folder: Path, length: int) -> None:
        """Load the tokenizer.

        Args:
            folder: Holds `tokenizer.json` and the names of special tokens.
            length: The most tokens of a rendered text; longer ones lose their end, as the tokenizer cuts them.

        Raises:
            UserError: There is no token to fill up rows with, or no room for a text.
        """
        self._folder, self.length = folder, length
        self._tokenizer = tokenizer.load(folder)
        self.size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.padding = self._padding()
        side = given_tokenizer.settings(folder).get("truncation_side", "right")
        try:
            self._tokenizer.enable_truncation(length, direction=side)
            self.render(["a"])
        except Exception as error:  # the library raises plain Exception
            raise UserError(f"preprocessing.sequence_length: {length}: {one_line(error)[:200]}; set more") from error

    def render(self, texts: Texts) -> list[Rendered]:
        """Return texts, or pairs of texts, as the model reads them.

        Raises:
            UserError: A text is rendered with the token that fills up rows.
        """
        rendered = []
        for text, encoded in zip(texts, self._tokenizer.encode_batch(list(texts)), strict=True):
            if self.padding in encoded.ids:
                raise UserError(
                    f"preprocessing.text: {str(text)[:80]!r} has the token that fills up rows, number {self.padding}; "
                    "leave such texts out"
                )
            rendered.append(Rendered(encoded.ids, encoded.type_ids, bool(encoded.overflowing)))
        return rendered

    def has_types(self, texts: Texts) -> bool:
        """Return whether the model is given types of tokens, after a comparison with transformers' own class.

        Args:
            texts: The data's, of which the first few are compared.

        Raises:
            UserError: The class renders one in another way.
        """
        theirs = self._theirs()
        special = {str(token) for token in theirs.all_special_tokens}
        few = [one for one in texts[: 4 * COMPARED] if not _has_any(one, special)]
        for one, mine in zip(few[:COMPARED], self.render(few[:COMPARED]), strict=True):
            made = theirs(*_parts(one), truncation=True, max_length=self.length, return_token_type_ids=True)
            if list(made["input_ids"]) != mine.ids or list(made["token_type_ids"]) != mine.types:
                kind = type(theirs).__name__
                raise UserError(
                    f"{TOKENIZER}: {kind} of transformers renders {str(one)[:80]!r} in another way than its "
                    "tokenizer.json; please report it with the name of the checkpoint"
                )
        return "token_type_ids" in theirs.model_input_names

    def _theirs(self) -> Any:
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self._folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # whatever a tokenizer's class raises of its files
            raise UserError(
                f"{TOKENIZER}: transformers does not load the tokenizer: {one_line(error)[:200]}"
            ) from error

    def _padding(self) -> int:
        named = given_tokenizer.named_tokens(self._folder)
        used = set(self._tokenizer.encode("a").ids)
        for name in _PADDING:
            number = self._tokenizer.token_to_id(named[name]) if name in named else None
            if number is not None and number not in used:
                return int(number)
        file = self._folder / "tokenizer_config.json"
        raise UserError(f"{TOKENIZER}: {file} names no pad_token that the tokenizer knows; name one there")


def _has_any(text: str | tuple[str, str], special: set[str]) -> bool:
    return any(token in part for part in _parts(text) for token in special)


def _parts(text: str | tuple[str, str]) -> tuple[str, ...]:
    return (text,) if isinstance(text, str) else text
