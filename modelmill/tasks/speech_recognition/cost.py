"""What training computes, for `modelmill plan`, from the recipe alone."""

from collections.abc import Mapping
from typing import Any, Literal

from modelmill.corpus.speech.lengths import Recording, mean_recording
from modelmill.tasks.contract import Cost, RunFacts, Stage
from modelmill.tasks.flops import Work, attention, held, linear, product, said
from modelmill.tasks.speech_recognition.recipe import PretrainedRecogniser, Recipe

HOP_SECONDS, WINDOW_SECONDS, KERNEL, STRIDE, GATES = 0.01, 0.025, 5, 2, 4
# Of an alphabet that is not known: letters and a space.
CHARACTERS = 27
# Of a token of Whisper's, in English.
CHARACTERS_A_TOKEN = 4

UNIT: Literal["tokens", "samples"] = "tokens"


def cost(recipe: Recipe, stage: Stage, known: RunFacts) -> Cost | None:
    """Return the cost of a stage; of a checkpoint None, unless all weights of a Whisper are trained.

    Args:
        recipe: The recipe.
        stage: The stage that is trained.
        known: What is known beside the recipe.
    """
    model, settings = recipe.model, recipe.preprocessing
    recording = mean_recording(settings, stage, known.rows)
    if isinstance(model, PretrainedRecogniser):
        chosen = recipe.fine_tuning if stage == "fine_tuning" else None
        is_whole = chosen is None or not (chosen.adapted or chosen.frozen_layers)
        return _of_whisper(known, recording) if is_whole and known.weights else None
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


def _of_whisper(known: RunFacts, recording: Recording) -> Cost | None:
    """Return the cost of a Whisper, which hears as much of silence as the recording is shorter than it takes."""
    config = known.weights or {}
    if config.get("model_type") != "whisper":
        return None
    is_known = known.corpus is not None and not recording.assumed
    tokens = recording.characters / (1 if is_known else CHARACTERS_A_TOKEN)
    width, heard, size = config["d_model"], config["max_source_positions"], config["vocab_size"]
    work = product(config["num_mel_bins"] * width * 3, 2 * heard, bias=width, reads_data=True)
    work += product(width * width * 3, heard, bias=width) + held((heard + config["max_target_positions"]) * width)
    work += (_attention(width, heard, heard) + _feed_forward(config, "encoder", heard)) * config["encoder_layers"]
    decoder = _attention(width, tokens, tokens) + _attention(width, tokens, heard)
    work += (decoder + _feed_forward(config, "decoder", tokens)) * config["decoder_layers"]
    # The embedding is the matrix of the last layer, too.
    work += held(4 * width) + linear(width, size, tokens, bias=False)
    learned = tokens - (known.corpus["prefix"] if is_known and known.corpus else 0)
    return Cost(work.parameters, work.flops, learned, assumed=recording.assumed)


def _attention(width: int, queries: float, keys: float) -> Work:
    """Return the work of an attention and its norm; keys have no bias."""
    asked = linear(width, width, queries) * 2
    looked_at = linear(width, width, keys, bias=False) + linear(width, width, keys)
    return asked + looked_at + attention(queries, keys, width) + held(2 * width)


def _feed_forward(config: Mapping[str, Any], side: str, places: float) -> Work:
    width, inner = config["d_model"], config[f"{side}_ffn_dim"]
    return linear(width, inner, places) + linear(inner, width, places) + held(2 * width)
