"""Recordings and transcripts into samples and characters."""

from modelmill.corpus.speech import utterances
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step

# The network gives a symbol for each so many seconds.
FRAME_SECONDS = 0.02


def preprocess(step: Step, found: list[tuple[Shard, str]]) -> Made:
    """See `modelmill.corpus.speech.utterances.preprocess`."""
    return utterances.preprocess(step, found, FRAME_SECONDS)
