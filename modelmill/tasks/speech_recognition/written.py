"""The tokens that a decoder writes, after those that say in which language."""

from pathlib import Path
from typing import Any

import numpy as np

from modelmill.core.errors import UserError
from modelmill.corpus.speech.processor import load_tokenizer
from modelmill.tasks.speech_recognition import asking
from modelmill.tasks.speech_recognition.recipe import RecognitionPreprocessing


class Written:
    """Tokens that a decoder writes; see `Spelling`."""

    def __init__(self, folder: Path, config: Any, settings: RecognitionPreprocessing) -> None:
        """Take the checkpoint's tokenizer.

        Args:
            folder: The checkpoint's folder.
            config: Its configuration.
            settings: The recipe's section.

        Raises:
            UserError: The network is not an encoder and a decoder, or the tokenizer does not know the language.
        """
        if not config.is_encoder_decoder or config.decoder_start_token_id is None:
            raise UserError(
                f"preprocessing.processor.from: {folder}: {config.model_type} is no encoder with a decoder that "
                "transcribes what it hears; take one such as Whisper, or one with a CTC head"
            )
        for key in ("alphabet", "vocabulary"):
            if getattr(settings, key) != type(settings).model_fields[key].default:
                raise UserError(
                    f"preprocessing.{key}: {folder}: {config.model_type} writes tokens of its own; leave the key out"
                )
        self.tokenizer, self.settings = load_tokenizer(folder), settings
        self.start = int(config.decoder_start_token_id)
        self.most = int(getattr(config, "max_target_positions", 0) or getattr(config, "max_position_embeddings", 0))
        self.is_whisper = config.model_type == asking.WHISPER
        if not self.is_whisper:
            asking.refuse_language(folder, config.model_type, settings.language)
        tokens = self.tokenizer.get_vocab()
        self.language = asking.code(folder, tokens, settings.language) if self.is_whisper else None
        self.prefix = _prefix(self.tokenizer, self.language) if self.is_whisper else []
        self.files: dict[str, bytes] = {}
        self.changes: dict[str, Any] = {}
        self.info: dict[str, Any] = {
            "vocabulary": "checkpoint",
            "prefix": len(self.prefix),
            "start": self.start,
            "language": self.language,
        }

    def tidied(self, text: object) -> str:
        """Return a transcript with one space between words."""
        words = " ".join(str(text).split())
        return words.lower() if self.settings.lowercase else words

    def numbers(self, text: str) -> np.ndarray:
        """Return what the decoder writes after its first token, the end included: uint32, (tokens,)."""
        if self.is_whisper:  # which writes a space first, and no tokens of time
            tokens = [*self.prefix, *self.tokenizer(f" {text}", add_special_tokens=False).input_ids]
        else:
            tokens = list(self.tokenizer(text).input_ids)
            tokens = tokens[1:] if tokens[:1] == [self.start] else tokens
        end = self.tokenizer.eos_token_id
        return np.array(tokens if tokens[-1:] == [end] else [*tokens, end], np.uint32)

    def unusable(self, text: str, seconds: float) -> str:
        """Return why a recording cannot be learned from; see `Spelling`."""
        tokens, unknown = self.numbers(text), self.tokenizer.unk_token_id
        if unknown is not None and unknown != self.tokenizer.eos_token_id and unknown in tokens:
            return "its transcript has characters that the checkpoint's tokenizer does not know"
        if self.most and len(tokens) > self.most:
            return f"its transcript has {len(tokens)} tokens, more than the {self.most} that the decoder writes"
        return ""


def _prefix(tokenizer: Any, language: str | None) -> list[int]:
    """Return the tokens with which Whisper is asked, without the first: language, task, and no times."""
    asked = [*([f"<|{language}|>", "<|transcribe|>"] if language else []), "<|notimestamps|>"]
    return [number for token in asked if (number := _id(tokenizer, token)) is not None]


def _id(tokenizer: Any, token: str) -> int | None:
    number = tokenizer.get_vocab().get(token)
    return None if number is None else int(number)
