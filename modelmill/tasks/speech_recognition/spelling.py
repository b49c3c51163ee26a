"""Transcripts in the tokens of a speech checkpoint, or in a new vocabulary of their characters; it knows no torch.

A network with a CTC head says a token for each frame, and its vocabulary can be another one: then its head starts anew.
One with a decoder writes the tokens of its own tokenizer, after tokens that say in which language.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modelmill.core.errors import UserError
from modelmill.tasks.speech_recognition import asking
from modelmill.tasks.speech_recognition.letters import Letters
from modelmill.tasks.speech_recognition.recipe import RecognitionPreprocessing
from modelmill.tasks.speech_recognition.written import Written

CTC, SEQ2SEQ = "AutoModelForCTC", "AutoModelForSpeechSeq2Seq"


class Spelling(Protocol):
    """How transcripts become tokens.

    Attributes:
        info: What training has to know, by name.
        files: Files of a new tokenizer by name; empty where the checkpoint's own is taken.
        changes: What a new tokenizer changes in the network's configuration.
    """

    info: dict[str, Any]
    files: dict[str, bytes]
    changes: dict[str, Any]

    def tidied(self, text: object) -> str:
        """Return a transcript as it is learned."""
        ...

    def numbers(self, text: str) -> np.ndarray:
        """Return the tokens of a tidied transcript: uint32, (tokens,)."""
        ...

    def unusable(self, text: str, seconds: float) -> str:
        """Return why a recording with this transcript cannot be learned from; an empty text if it can."""
        ...


def spelling(
    folder: Path, config: Any, head: str, settings: RecognitionPreprocessing, training: Iterable[object]
) -> Spelling:
    """Return how the transcripts of a data set are spelled for a checkpoint.

    Args:
        folder: The checkpoint's folder.
        config: Its configuration, as `AutoConfig` reads it.
        head: The class of `transformers` that loads it.
        settings: The recipe's section.
        training: Transcripts of the training split.

    Raises:
        UserError: The checkpoint has no tokenizer that can be taken, or does not know the language.
    """
    if head != CTC:
        return Written(folder, config, settings)
    asking.refuse_language(folder, config.model_type, settings.language)
    own = Letters.of_checkpoint(folder, config, settings)
    texts = [" ".join(str(text).split()) for text in training]
    if own is None or settings.vocabulary == "transcripts" or settings.alphabet:
        if settings.vocabulary == "checkpoint":
            raise UserError(
                f"preprocessing.vocabulary: {folder}: it has no CTC head with a tokenizer of its own; leave the key out"
            )
        return Letters.new(texts, config, settings)
    unknown = sorted({one for text in texts for one in own.unknown(own.tidied(text))})
    if unknown and settings.vocabulary == "auto":
        return Letters.new(texts, config, settings, f"the checkpoint's vocabulary lacks {_some(unknown)}")
    return own


def _some(characters: list[str]) -> str:
    more = f" and {len(characters) - 3} more" if len(characters) > 3 else ""
    return ", ".join(repr(one) for one in characters[:3]) + more
