"""What training computes, for `modelmill plan`, from the recipe alone."""

from typing import Literal

from modelmill.corpus.speech.lengths import mean_recording
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import Work, held, linear, product, said
from modelmill.tasks.speech_synthesis.recipe import Recipe

HOP_SECONDS, WINDOW_SECONDS, KERNEL, DURATION_LAYERS = 0.0125, 0.05, 5, 2
# Of an alphabet that is not known: letters and a space.
CHARACTERS = 27

UNIT: Literal["tokens", "samples"] = "tokens"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost:
    """Return the cost of a stage.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    model, settings = recipe.model, recipe.preprocessing
    recording = mean_recording(settings, stage, known.rows)
    alphabet = known.corpus["alphabet"] if known.corpus is not None else settings.alphabet
    characters = len(alphabet) if alphabet else CHARACTERS
    width, symbols, frames = model.hidden_size, recording.characters + 2, recording.seconds / HOP_SECONDS + 1
    size = 1 << (round(settings.sample_rate * WINDOW_SECONDS) - 1).bit_length()
    # The spectra have no weights to learn.
    work = held((characters + 1) * width) + Work(0, (size // 2 + 1) * model.mels * frames)
    work += (
        _block(width, symbols) * (model.encoder_layers + DURATION_LAYERS) + _block(width, frames) * model.decoder_layers
    )
    work += linear(width, model.mels, symbols) + linear(width, 1, symbols)
    work += linear(2, width, frames, reads_data=True) + linear(width, model.mels, frames)
    of_alphabet = "" if alphabet else f"an alphabet of {CHARACTERS} characters"
    return Cost(work.parameters, work.flops, frames, assumed=said(recording.assumed, of_alphabet))


def _block(width: int, places: float) -> Work:
    return product(width * width * KERNEL, places, bias=width) + held(2 * width)
