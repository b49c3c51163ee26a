"""Transcripts and recordings into characters and samples."""

from modelmill.corpus.speech import utterances
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step

# Two frames of the spectra, so that each character and the silence around them all have one.
CHARACTER_SECONDS = 0.025


def preprocess(step: Step, found: list[tuple[Shard, str]]) -> Made:
    """See `modelmill.corpus.speech.utterances.preprocess`."""
    return utterances.preprocess(step, found, CHARACTER_SECONDS)
