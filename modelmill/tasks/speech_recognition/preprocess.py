"""Preprocessing of recordings and transcripts into samples and characters."""

from modelmill.corpus.speech import utterances
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step

# Seconds of a frame, for which the network gives one symbol.
FRAME_SECONDS = 0.02


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus; see `modelmill.corpus.speech.utterances.preprocess`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
    """
    return utterances.preprocess(step, shards, FRAME_SECONDS)
