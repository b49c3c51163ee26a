"""What a recipe asks of a speech checkpoint, held against the checkpoint's files; transformers is not needed for it."""

import re
from collections.abc import Mapping
from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.corpus.speech import processor
from modelmill.corpus.speech.processor import Hearing
from modelmill.recipe.sections import PROCESSOR
from modelmill.runtime.sources.layout import ADDED_TOKENS, CONFIG, GENERATION, TOKENIZER
from modelmill.runtime.weights import read_json

_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
# The only family whose tokenizer has tokens of languages.
WHISPER = "whisper"
# Languages that a message lists.
_SHOWN = 5


def require(folder: Path, sample_rate: int, max_seconds: float, language: str | None) -> None:
    """Check that a checkpoint hears and writes what a recipe asks for, as far as its files tell.

    Args:
        folder: The checkpoint's folder.
        sample_rate: Rate of the recipe's recordings in Hz.
        max_seconds: Length of the longest recording.
        language: Language of the transcripts, None where the recipe names none.

    Raises:
        UserError: It has another rate, takes shorter recordings alone, or does not know the language.
    """
    kind = str(read_json(PROCESSOR, folder / CONFIG).get("model_type"))
    hearing(folder, kind, sample_rate, max_seconds)
    tokens = _tokens(folder)
    if kind != WHISPER:
        refuse_language(folder, kind, language)
    elif languages(tokens):  # of tokenizers in other files preprocessing says it
        code(folder, tokens, language)


def hearing(folder: Path, kind: str, sample_rate: int, max_seconds: float) -> Hearing:
    """Return what the checkpoint hears.

    Args:
        folder: The checkpoint's folder.
        kind: Its `model_type`.
        sample_rate: Rate of the recipe's recordings in Hz.
        max_seconds: Length of the longest recording.

    Raises:
        UserError: The recipe has another rate, or longer recordings than it takes.
    """
    heard = processor.hearing(PROCESSOR, folder)
    if sample_rate != heard.rate:
        raise UserError(
            f"preprocessing.sample_rate: {sample_rate} Hz, but {kind} hears {heard.rate} Hz; set it to {heard.rate}, "
            "and recordings of other rates are resampled"
        )
    if heard.seconds is not None and max_seconds > heard.seconds:
        raise UserError(
            f"preprocessing.max_seconds: {max_seconds:g}, but {kind} hears {heard.seconds:g} s at most; set it to "
            "that or less"
        )
    return heard


def refuse_language(folder: Path, kind: str, language: str | None) -> None:
    """Check that a recipe names no language.

    Raises:
        UserError: It names one.
    """
    if language:
        raise UserError(f"preprocessing.language: {folder}: {kind} has no tokens of languages; leave the key out")


def code(folder: Path, tokens: Mapping[str, int], language: str | None) -> str | None:
    """Return the code of Whisper's language; None for a checkpoint of one language.

    Args:
        folder: The checkpoint's folder.
        tokens: Numbers of its tokenizer's tokens.
        language: The language's code or name; None where the recipe names none.

    Raises:
        UserError: The tokenizer does not know the language, or knows several and none is named.
    """
    known = languages(tokens)
    wanted = _code(language, known) if language else None
    # English checkpoints have the tokens, but are not asked with them.
    if not _is_multilingual(folder, known):
        if wanted not in (None, "en"):
            raise UserError(f"preprocessing.language: {folder}: {language!r}: this checkpoint writes English alone")
        return None
    some = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
    if wanted is None:
        raise UserError(f"preprocessing.language: {folder}: name the language of the transcripts, one of {some}")
    if wanted not in known:
        raise UserError(f"preprocessing.language: {folder}: its tokenizer does not know {language!r}; it knows {some}")
    return wanted


def languages(tokens: Mapping[str, int]) -> list[str]:
    """Return the codes of the languages that a tokenizer has tokens for, in the order of their numbers."""
    found = ((number, match[1]) for token, number in tokens.items() if (match := _LANGUAGE.fullmatch(token)))
    return [one for _, one in sorted(found)]


def _code(language: str, known: list[str]) -> str:
    """Return the code of a language that is named by its code or, where transformers is at hand, by its name."""
    named = language.lower()
    if named in known:
        return named
    try:
        from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE
    except ImportError:
        return named
    return str(TO_LANGUAGE_CODE.get(named, named))


def _is_multilingual(folder: Path, known: list[str]) -> bool:
    file = folder / GENERATION
    said = read_json(PROCESSOR, file).get("is_multilingual") if file.is_file() else None
    return bool(known) if said is None else bool(said)


def _tokens(folder: Path) -> dict[str, int]:
    """Return the numbers of the tokens that a tokenizer adds to its vocabulary, from whichever file has them."""
    has = {
        name: read_json(PROCESSOR, folder / name) for name in (*TOKENIZER, ADDED_TOKENS) if (folder / name).is_file()
    }
    whole, config, added = (has.get(name, {}) for name in (*TOKENIZER, ADDED_TOKENS))
    tokens = {str(one["content"]): int(one["id"]) for one in whole.get("added_tokens") or ()}
    tokens |= {str(one["content"]): int(n) for n, one in (config.get("added_tokens_decoder") or {}).items()}
    return tokens | {str(token): int(number) for token, number in added.items()}
