"""Recordings and transcripts into samples and characters."""

from components.common.shards import Shard
from components.common.step import Made, Step
from components.preprocessing import speech

# The network gives a symbol for each so many seconds.
FRAME_SECONDS = 0.02


def preprocess(step: Step, found: list[tuple[Shard, str]]) -> Made:
    """See `components.preprocessing.speech.preprocess`."""
    return speech.preprocess(step, found, FRAME_SECONDS)
