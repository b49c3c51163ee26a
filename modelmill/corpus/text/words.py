"""Token ids of a text by way of its words: most occurred before, and a look-up is faster than merging bytes."""

import json
import re

import numpy as np
from tokenizers import Tokenizer

# The words of GPT-2's byte-level pre-tokenizer (Radford et al., 2019); merging never crosses them. In ASCII, Python's
# classes are exactly its \p{L}, \p{N} and \s.
_WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII)
# A text may be cut between a character that is surely no space and one that is: no word spans both.
_CUT = re.compile(r"(?<=[!-~\w])(?=[ \n])")
# Words that are kept: some 60 MB at most.
_MOST_WORDS = 1 << 18
_LONGEST_WORD = 64


def apply_to(tokenizer: Tokenizer) -> bool:
    """Tell whether the ids of every text are those of its words, one after the other."""
    made = json.loads(tokenizer.to_str())
    pre_tokenizer, model = made["pre_tokenizer"] or {}, made["model"]
    return (
        made["normalizer"] is None
        and pre_tokenizer.get("type") == "ByteLevel"
        and pre_tokenizer["use_regex"]
        and not pre_tokenizer["add_prefix_space"]
        and model["type"] == "BPE"
        and not model["dropout"]
        and tokenizer.encode_special_tokens
        and all(token["special"] for token in made["added_tokens"])
    )


class Words(dict[str, bytes]):
    """The ids of each word met so far, as bytes of `dtype`."""

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype) -> None:
        """Start without words."""
        super().__init__()
        self.tokenizer = tokenizer
        self.dtype = dtype

    def encode(self, text: str) -> np.ndarray:
        """Return the ids that the tokenizer gives the text: `dtype`, (tokens,), read-only."""
        return np.frombuffer(b"".join(map(self.__getitem__, split(text))), self.dtype)

    def __missing__(self, word: str) -> bytes:
        """Return and keep the ids of a new word."""
        ids = np.array(self.tokenizer.encode(word, add_special_tokens=False).ids, self.dtype).tobytes()
        if len(word) <= _LONGEST_WORD:
            if len(self) == _MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids


def split(text: str) -> list[str]:
    """Return the words of a text; parts beyond ASCII stay in larger pieces, which the tokenizer splits."""
    if text.isascii():
        return _WORD.findall(text)
    return [word for piece in _CUT.split(text) for word in (_WORD.findall(piece) if piece.isascii() else [piece])]
