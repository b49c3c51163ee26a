"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.corpus.speech.lengths import mean_recording
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import Work, held, linear, product, said
from modelmill.tasks.speech_recognition.recipe import PretrainedRecogniser, Recipe

HOP_SECONDS, WINDOW_SECONDS, KERNEL, STRIDE, GATES = 0.01, 0.025, 5, 2, 4
# Of an alphabet that is not known: letters and a space.
CHARACTERS = 27

UNIT: Literal["tokens", "samples"] = "tokens"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage; None of a checkpoint, which is measured when it is trained.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    model, settings = recipe.model, recipe.preprocessing
    if isinstance(model, PretrainedRecogniser):
        return None
    recording = mean_recording(settings, stage, known.rows)
    alphabet = known.corpus["alphabet"] if known.corpus is not None else settings.alphabet
    characters = len(alphabet) if alphabet else CHARACTERS
    frames = int(recording.seconds / HOP_SECONDS) + 1
    heard = (frames - 1) // STRIDE + 1
    size = 1 << (round(settings.sample_rate * WINDOW_SECONDS) - 1).bit_length()
    channels, hidden = model.channels, model.hidden_size
    # The spectra have no weights to learn.
    work = Work(0, (size // 2 + 1) * model.mels * frames)
    work += product(model.mels * channels * KERNEL, heard, bias=channels, reads_data=True)
    work += product(channels * channels * KERNEL, heard, bias=channels) + held(4 * channels)
    for layer in range(model.num_layers):
        inputs = 2 * hidden if layer else channels
        work += product(GATES * hidden * (inputs + hidden), heard, bias=2 * GATES * hidden) * 2
    work += linear(2 * hidden, characters + 1, heard)
    of_alphabet = "" if alphabet else f"an alphabet of {CHARACTERS} characters"
    return Cost(work.parameters, work.flops, recording.characters, assumed=said(recording.assumed, of_alphabet))
