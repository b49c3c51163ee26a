"""Transcripts and recordings into characters and samples."""

from components.common.shards import Shard
from components.common.step import Made, Step
from components.preprocessing import speech

# Two frames of the spectra, so that each character and the silence around them all have one.
CHARACTER_SECONDS = 0.025


def preprocess(step: Step, found: list[tuple[Shard, str]]) -> Made:
    """See `components.preprocessing.speech.preprocess`."""
    return speech.preprocess(step, found, CHARACTER_SECONDS)
