"""Preprocessing of recordings and transcripts into samples and characters, or into the tokens of a checkpoint."""

from modelmill.corpus.speech import utterances
from modelmill.data.shard import Shard
from modelmill.runtime.step_runtime import Made, Step
from modelmill.tasks.speech_recognition import checkpoint_corpus
from modelmill.tasks.speech_recognition.recipe import PretrainedRecogniser

# Seconds of a frame, for which the network gives one symbol.
FRAME_SECONDS = 0.02


def preprocess(step: Step, shards: list[tuple[Shard, str]]) -> Made:
    """Return the corpus; see `modelmill.corpus.speech.utterances.preprocess` and `checkpoint_corpus.preprocess`.

    Args:
        step: The running step.
        shards: The dataset's shards, each with the sha256 that was validated.
    """
    if isinstance(step.recipe.model, PretrainedRecogniser):
        return checkpoint_corpus.preprocess(step, shards)
    return utterances.preprocess(step, shards, FRAME_SECONDS)
