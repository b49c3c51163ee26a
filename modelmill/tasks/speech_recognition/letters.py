"""The tokens of a CTC head, most often characters: the checkpoint's, or a new vocabulary of the transcripts."""

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus.speech.processor import load_tokenizer
from modelmill.tasks.speech_recognition.recipe import RecognitionPreprocessing

VOCABULARY, TOKENIZER_CONFIG = "vocab.json", "tokenizer_config.json"
PAD, UNKNOWN = "<pad>", "<unk>"
# What stands for a space in a new vocabulary: transformers takes no other token from a tokenizer's files.
DELIMITER = "|"
# Samples between frames of networks whose configuration does not say.
_RATIO = 320


class Letters:
    """Tokens of a CTC head, most often characters; see `Spelling`."""

    def __init__(
        self, tokenizer: Any, config: Any, files: dict[str, bytes], settings: RecognitionPreprocessing
    ) -> None:
        """Take a tokenizer.

        Args:
            tokenizer: The checkpoint's, or a new one.
            config: The checkpoint's configuration.
            files: The files of a new one by name.
            settings: The recipe's section.
        """
        self.tokenizer, self.files, self.settings = tokenizer, files, settings
        self.frame = float(getattr(config, "inputs_to_logits_ratio", None) or _RATIO)
        known = [token for token in tokenizer.get_vocab() if len(token) == 1]
        self.case = "none" if files else _case(known, getattr(tokenizer, "do_lower_case", False))
        self.info: dict[str, Any] = {"vocabulary": "transcripts" if files else "checkpoint", "prefix": 0}
        self.changes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id} if files else {}

    @classmethod
    def of_checkpoint(cls, folder: Path, config: Any, settings: RecognitionPreprocessing) -> "Letters | None":
        """Return the checkpoint's own spelling; None where it has no CTC head with a tokenizer."""
        has_head = any(str(name).endswith("ForCTC") for name in config.architectures or ())
        if not has_head or not any((folder / name).is_file() for name in (VOCABULARY, "tokenizer.json")):
            return None
        tokenizer = load_tokenizer(folder)
        blank, size = tokenizer.pad_token_id, len(tokenizer)
        if blank is None or blank != config.pad_token_id or max(tokenizer.get_vocab().values()) >= config.vocab_size:
            raise UserError(
                f"preprocessing.processor.from: {folder}: its tokenizer ({size} tokens, padding {blank}) is not that "
                f"of its head ({config.vocab_size} tokens, padding {config.pad_token_id}); take the one of the same "
                "checkpoint, or a new one: --set preprocessing.vocabulary=transcripts"
            )
        return cls(tokenizer, config, {}, settings)

    @classmethod
    def new(cls, texts: list[str], config: Any, settings: RecognitionPreprocessing, why: str = "") -> "Letters":
        """Return the spelling of a new vocabulary.

        Args:
            texts: Transcripts of the training split.
            config: The checkpoint's configuration.
            settings: The recipe's section.
            why: Why it is not the checkpoint's.

        Raises:
            UserError: A transcript has the character that stands for a space.
        """
        lowered = (text.lower() if settings.lowercase else text for text in texts)
        letters = sorted(set(settings.alphabet or "".join(lowered)) - {" "})
        if DELIMITER in letters:
            raise UserError(
                f"preprocessing.transcript: {DELIMITER!r} is in the transcripts, and stands for a space in the "
                "vocabulary that is made of them; write it otherwise"
            )
        vocabulary = {token: number for number, token in enumerate([PAD, UNKNOWN, DELIMITER, *letters])}
        described = {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "pad_token": PAD,
            "unk_token": UNKNOWN,
            "bos_token": None,
            "eos_token": None,
            "word_delimiter_token": DELIMITER,
            "do_lower_case": False,
        }
        files = {VOCABULARY: _json(vocabulary), TOKENIZER_CONFIG: _json(described)}
        made = cls(_made(files), config, files, settings)
        made.info |= {"why_new": why} if why else {}
        return made

    def tidied(self, text: object) -> str:
        """Return a transcript in the case of the vocabulary, with one space between words."""
        words = " ".join(str(text).split())
        case = "lower" if self.case == "none" and self.settings.lowercase else self.case
        return {"upper": words.upper(), "lower": words.lower(), "none": words}[case]

    def numbers(self, text: str) -> np.ndarray:
        """Return the tokens of a tidied transcript: uint32, (tokens,)."""
        return np.array(self.tokenizer(text, add_special_tokens=False).input_ids, np.uint32)

    def unknown(self, text: str) -> list[str]:
        """Return the characters of a tidied transcript that the tokenizer does not know."""
        if self.tokenizer.unk_token_id not in self.numbers(text):
            return []
        return [one for one in dict.fromkeys(text) if self.tokenizer.unk_token_id in self.numbers(one)] or [text]

    def unusable(self, text: str, seconds: float) -> str:
        """Return why a recording cannot be learned from; see `Spelling`."""
        if unknown := self.unknown(text):
            return f"its transcript has {unknown[0]!r}, which is not in the vocabulary of the {self.info['vocabulary']}"
        tokens = self.numbers(text).tolist()
        needed = len(tokens) + sum(a == b for a, b in pairwise(tokens)) + 1
        if seconds * self.settings.sample_rate < needed * self.frame:
            return f"it lasts {seconds:.2f} s, too short for the {len(tokens)} tokens of its transcript"
        return ""


def _made(files: dict[str, bytes]) -> Any:
    """Return the tokenizer that files describe."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return load_tokenizer(Path(folder))


def _case(tokens: list[str], is_lowered: bool) -> str:
    """Return the only case that a vocabulary has letters of: `upper`, `lower` or `none`.

    Args:
        tokens: Tokens of one character.
        is_lowered: Whether the tokenizer takes and gives lower case, whatever its tokens are.
    """
    has_upper, has_lower = any(one.isupper() for one in tokens), any(one.islower() for one in tokens)
    if is_lowered or (has_lower and not has_upper):
        return "lower"
    return "upper" if has_upper and not has_lower else "none"


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
