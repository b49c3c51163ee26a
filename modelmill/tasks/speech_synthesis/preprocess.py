"""Preprocessing of transcripts and recordings into characters and samples."""

from modelmill.corpus.speech import utterances
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step

# The least seconds a character: two frames of the spectra, so that there is one for each and for the silence around.
CHARACTER_SECONDS = 0.025


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus; see `modelmill.corpus.speech.utterances.preprocess`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
    """
    return utterances.preprocess(step, shards, CHARACTER_SECONDS)
