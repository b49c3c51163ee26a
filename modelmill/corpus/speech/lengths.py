"""How long recordings are, as far as that is known before training."""

from collections.abc import Mapping
from typing import NamedTuple

from modelmill.corpus.settings import ONLY
from modelmill.corpus.speech.settings import SpeechPreprocessing

# Characters of English that are spoken in a second, spaces included.
CHARACTERS_A_SECOND = 15


class Recording(NamedTuple):
    """A recording.

    Attributes:
        seconds: How long it lasts.
        characters: Of its transcript.
        assumed: What is assumed of it, in words; empty if its length is measured.
    """

    seconds: float
    characters: float
    assumed: str = ""


def mean_recording(settings: SpeechPreprocessing, stage: str, rows: Mapping[str, int]) -> Recording:
    """Return the mean recording of a stage's training split; before there is a corpus, the longest that is taken.

    Args:
        settings: The recipe's section.
        stage: The stage that is trained.
        rows: Rows of the corpus's files, by their paths; none before a first run.
    """
    for corpus in (stage, ONLY):
        counts = [_rows(rows, f"train/{corpus}/", f".{name}.npy") for name in ("ids", "samples", "labels")]
        if all(counts):
            recordings, samples, characters = counts
            return Recording(samples / recordings / settings.sample_rate, characters / recordings)
    seconds = settings.max_seconds
    assumed = f"recordings of {seconds:g} s, the longest that the recipe takes"
    return Recording(seconds, seconds * CHARACTERS_A_SECOND, assumed)


def _rows(rows: Mapping[str, int], folder: str, kind: str) -> int:
    """Return the rows of all parts of an array."""
    return sum(count for path, count in rows.items() if path.startswith(folder) and path.endswith(kind))
