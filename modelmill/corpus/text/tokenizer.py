"""The byte-level BPE tokenizer: trained on the training split, or taken from a model folder."""

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from modelmill.core.errors import UserError
from modelmill.corpus import packing
from modelmill.corpus.text import words
from modelmill.corpus.text.given_tokenizer import named_tokens
from modelmill.runtime.weights import TOKENIZER

END_OF_TEXT = "<|endoftext|>"
RESPONSE = "<|response|>"


class Vocabulary(NamedTuple):
    """The ids of a tokenizer.

    Attributes:
        size: Number of ids.
        end: Id that closes documents, and opens them where nothing else does.
        separator: Ids between prompt and response.
        opening: Ids that the tokenizer puts before every text, such as BOS; none where these are none, or END.
    """

    size: int
    end: int
    separator: list[int]
    opening: list[int]


def train(texts: Iterator[str], vocab_size: int, folder: Path, named: Mapping[str, str] | None = None) -> None:
    """Train byte-level BPE (Sennrich et al., 2016, https://arxiv.org/abs/1508.07909) and write it for `transformers`.

    No text is unknown to the tokenizer, and none is normalised.

    Args:
        texts: The texts to learn from.
        vocab_size: Number of ids.
        folder: The folder to write.
        named: Special tokens in place of `RESPONSE`, by their names in `transformers`, such as `mask_token`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, *(named.values() if named else [RESPONSE])],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / TOKENIZER[0]))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        **(named or {}),
    }
    (folder / TOKENIZER[1]).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")


def load(folder: Path) -> Tokenizer:
    """Return the tokenizer, which reads special tokens in a text as plain characters: data cannot end its own document.

    Raises:
        UserError: The file is not a tokenizer.
    """
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER[0]))
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"preprocessing.tokenizer.from: {TOKENIZER[0]} is not a tokenizer: {error}") from error
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@functools.lru_cache(maxsize=1)
def kept(folder: Path, content: str) -> Tokenizer:
    """Return the tokenizer of a folder as `load` does, but read once for all pieces of the data.

    Args:
        folder: The folder.
        content: Digest of the tokenizer.

    Raises:
        UserError: See `load`.
    """
    return load(folder)


def vocabulary(folder: Path) -> Vocabulary:
    """Return the vocabulary of the tokenizer in a folder.

    Raises:
        UserError: The tokenizer has no end-of-text token.
    """
    return _vocabulary(load(folder), folder)


class Encoder:
    """The encoder of texts to token ids.

    Attributes:
        tokenizer: The tokenizer.
        vocabulary: Its ids.
        dtype: Type of the ids.
    """

    def __init__(self, folder: Path) -> None:
        """Load the tokenizer of a folder.

        Raises:
            UserError: See `load` and `vocabulary`.
        """
        self.tokenizer = load(folder)
        self.vocabulary = _vocabulary(self.tokenizer, folder)
        self.dtype = packing.token_type(self.vocabulary.size)
        self._words = words.Words(self.tokenizer, self.dtype) if words.apply_to(self.tokenizer) else None

    def ids(self, texts: list[str]) -> list[np.ndarray]:
        """Return the ids of each text, with nothing added: `dtype`, (tokens,)."""
        if self._words is not None:
            return [self._words.encode(text) for text in texts]
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, self.dtype) for encoding in encoded]


def _vocabulary(tokenizer: Tokenizer, folder: Path) -> Vocabulary:
    named = named_tokens(folder)
    end_token = named.get("eos_token") or named.get("sep_token")  # BERT's ends a text
    end = tokenizer.token_to_id(end_token) if end_token else None
    if end is None:
        raise UserError(
            f"preprocessing.tokenizer.from: neither {TOKENIZER[1]} nor special_tokens_map.json names an eos_token that "
            "the tokenizer knows; name one there"
        )
    response = tokenizer.token_to_id(RESPONSE)
    separator = [response] if response is not None else tokenizer.encode("\n\n", add_special_tokens=False).ids
    opening = _opening(tokenizer)
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    return Vocabulary(size, end, separator, [] if opening == [end] else opening)


def _opening(tokenizer: Tokenizer) -> list[int]:
    """Return the ids that the tokenizer puts before a text."""
    bare, whole = (tokenizer.encode("a", add_special_tokens=added).ids for added in (False, True))
    begins = next((n for n in range(len(whole)) if bare and whole[n : n + len(bare)] == bare), 0)
    return whole[:begins]
