"""The feature extractor of a speech checkpoint, as far as its files say what it hears; and its tokenizer."""

from pathlib import Path
from typing import Any, NamedTuple

from modelmill.core.errors import UserError
from modelmill.recipe import sections
from modelmill.runtime.weights import read_json

PREPROCESSOR, PROCESSOR = "preprocessor_config.json", "processor_config.json"
# The part of a processor's file that is the feature extractor's.
_PART = "feature_extractor"


class Hearing(NamedTuple):
    """What a checkpoint hears.

    Attributes:
        rate: Sample rate in Hz.
        seconds: Length of the longest recording that it takes; None where it takes any.
    """

    rate: int
    seconds: float | None


def hearing(key: str, folder: Path) -> Hearing:
    """Return what a checkpoint's feature extractor takes.

    Args:
        key: The recipe's key that names the checkpoint, for messages.
        folder: The checkpoint's folder.

    Raises:
        UserError: There is no feature extractor's file, or it is of another kind of input.
    """
    content = _content(key, folder)
    kind = content.get("feature_extractor_type") or content.get("processor_class") or ""
    if content.get("image_processor_type") or "ImageProcessor" in str(kind):
        other = content.get("image_processor_type") or kind
        raise UserError(
            f"{key}: {folder}: {PREPROCESSOR} is of {other}, which prepares images; take the checkpoint of a speech "
            "recogniser"
        )
    rate = content.get("sampling_rate")
    if not isinstance(rate, int) or rate <= 0:
        raise UserError(
            f"{key}: {folder}: {PREPROCESSOR} names no sampling_rate, so it is not of a feature extractor for "
            "recordings; take it from the checkpoint's own repository"
        )
    chunk = content.get("chunk_length")
    return Hearing(rate, float(chunk) if isinstance(chunk, int | float) else None)


def _content(key: str, folder: Path) -> dict[str, Any]:
    if (folder / PREPROCESSOR).is_file():
        return read_json(key, folder / PREPROCESSOR)
    if (folder / PROCESSOR).is_file():
        part = read_json(key, folder / PROCESSOR).get(_PART)
        if isinstance(part, dict):
            return part
    raise UserError(
        f"{key}: {folder}: no {PREPROCESSOR} in it, which says how recordings are prepared; copy it from the "
        "checkpoint's repository, or name a folder that has it in preprocessing.processor.from"
    )


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder, as transformers loads it.

    Raises:
        UserError: There is none that it can load here.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises whatever its files make it stumble over
        why = str(error).strip().partition("\n")[0][:200]
        raise UserError(
            f"{sections.PROCESSOR}: {folder}: no tokenizer in it that transformers loads: {why}; name a checkpoint "
            "with tokenizer.json"
        ) from error
