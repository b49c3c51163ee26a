"""Evaluation of a speech synthesiser: distance from real recordings, and error rates of a recogniser."""

from typing import Any, NamedTuple

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from modelmill.champion.comparison import rows
from modelmill.data.media.audio import encode
from modelmill.measures import samples, transcripts, warping
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.measures.transcripts import Edits
from modelmill.models.speech.recogniser import text_of
from modelmill.models.speech.vocoder import griffin_lim
from modelmill.recipe.step_specs import FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.speech_synthesis import listener
from modelmill.tasks.speech_synthesis.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware


class Said(NamedTuple):
    """Synthesised texts.

    Attributes:
        spectra: Log-mel spectra of each text, (frames, mels).
        sounds: Samples of each text, (samples,).
    """

    spectra: list[np.ndarray]
    sounds: list[np.ndarray]


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's texts, as they are synthesised.

    Metrics:

    - `mel_distance`: Distance from the recordings in dB after time warping, for the voice that was trained on last.
    - `mel_distance_before`: The same of the pretrained model, where it was fine-tuned.
    - `character_error_rate`: Errors of a recogniser on synthesised speech.
    - `character_error_rate_real`: Its errors on the real recordings.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.evaluation
    tuned, pretrained = step.inputs[FINE_TUNED], step.inputs[PRETRAINED]
    is_tuned = bool(tuned.info["trained"]) and tuned.info["stage"] == "fine_tuning"
    last = "fine_tuning" if is_tuned else "pretraining"
    held_out, training = (task.examples(last, split) for split in ("test", "train"))
    alphabet, rate = task.corpus.info["alphabet"], task.corpus.info["sample_rate"]
    texts, known = ([text_of(one.transcript(n), alphabet) for n in range(len(one))] for one in (held_out, training))

    step.progress(0, 4, "held-out texts")
    model = _load(step, task, tuned)
    real, real_known = (_spectra(model, one) for one in (held_out, training))
    said = {"after": _speak(model, held_out)}
    if is_tuned and pretrained.entries:
        step.progress(1, 4, "held-out texts, before fine-tuning")
        said["before"] = _speak(_load(step, task, pretrained), held_out, aloud=False)
    step.progress(2, 4, "distances")
    apart = {when: _distances(one.spectra, real) for when, one in said.items()}
    mean = np.concatenate(real_known).mean(0, keepdims=True)
    nearest = cdist(texts, known, scorer=Levenshtein.distance).argmin(axis=1).tolist()
    trivial = {
        "the mean spectrum": _distances([mean] * len(real), real),
        "the nearest training recording": _distances([real_known[n] for n in nearest], real),
    }
    value = float(apart["after"].mean())
    metrics = {"mel_distance": value}
    baselines = [Baseline("mel_distance", what, value, most=float(one.mean())) for what, one in trivial.items()]
    if "before" in apart:
        metrics["mel_distance_before"] = float(apart["before"].mean())
        baselines.append(Baseline("mel_distance", "before fine-tuning", value, most=metrics["mel_distance_before"]))
    table = _rows(apart, texts, held_out.ids, training.ids)
    if settings.listener.steps:
        step.progress(3, 4, "a recogniser, trained on real recordings")
        hears = listener.train(task, settings.listener, recipe.seed)
        heard, of_real = (hears(one) for one in (said["after"].sounds, held_out.sounds()))
        edits = transcripts.compare(texts, heard, "characters")
        metrics["character_error_rate"] = edits.rate
        metrics["character_error_rate_real"] = transcripts.compare(texts, of_real, "characters").rate
        constant, bound = transcripts.best_constant(known, texts, "characters")
        baselines.append(Baseline("character_error_rate", f"always {constant!r}", edits.rate, most=bound))
        table += _heard_rows(edits, held_out.ids, training.ids)
    shown = _shown(settings.samples, texts, held_out, said["after"].sounds, rate)
    return EvaluationResult(metrics, table, {samples.FILE: shown}, tuple(baselines) if settings.baseline else ())


@torch.no_grad()
def _speak(model: Any, texts: Any, aloud: bool = True) -> Said:
    """Return each text as the model says it, with samples if `aloud`."""
    device = next(model.parameters()).device
    spectra, sounds = [], []
    for number in range(len(texts)):
        symbols = texts.batch(np.array([number]))["symbols"][0]
        mel = model.say(symbols.to(device))
        spectra.append(mel.cpu().numpy())
        sounds.append(griffin_lim(mel, model.spectra).cpu().numpy() if aloud else np.zeros(0, np.float32))
    return Said(spectra, sounds)


@torch.no_grad()
def _spectra(model: Any, recordings: Any) -> list[np.ndarray]:
    """Return the log-mel spectra of real recordings."""
    device = next(model.parameters()).device
    return [model.spectra(torch.from_numpy(one)[None].to(device))[0].cpu().numpy() for one in recordings.sounds()]


def _distances(synthesised: list[np.ndarray], real: list[np.ndarray]) -> np.ndarray:
    return np.array([warping.distance(one, other) for one, other in zip(synthesised, real, strict=True)])


def _load(step: Step, task: Any, model: Manifest) -> torch.nn.Module:
    loaded: torch.nn.Module = task.load(loading.fetch_model(step, model))
    return loaded.to(hardware.pick_device()).eval()


def _rows(
    apart: dict[str, np.ndarray], texts: list[str], ids: np.ndarray, training_ids: np.ndarray
) -> list[dict[str, Any]]:
    """Return a row for each text and model, with the distance."""
    names, seen = rows.unique_ids(f"{one:016x}" for one in ids.tolist()), np.isin(ids, training_ids)
    return [
        {
            "example": name,
            "set": "recordings",
            "model": when,
            "slices": [f"words={min(len(texts[number].split()), 5)}"],
            "score": float(distances[number]),
            "weight": 1.0,
            "contaminated": bool(seen[number]),
        }
        for when, distances in apart.items()
        for number, name in enumerate(names)
    ]


def _heard_rows(edits: Edits, ids: np.ndarray, training_ids: np.ndarray) -> list[dict[str, Any]]:
    names, seen = rows.unique_ids(f"{one:016x}" for one in ids.tolist()), np.isin(ids, training_ids)
    return [
        {
            "example": name,
            "set": "characters",
            "model": "after",
            "slices": [],
            "score": float(edits.edits[number]),
            "weight": float(edits.sizes[number]),
            "contaminated": bool(seen[number]),
        }
        for number, name in enumerate(names)
    ]


def _shown(most: int, texts: list[str], real: Any, said: list[np.ndarray], rate: int) -> list[samples.Sample]:
    """Return texts that are spread evenly over the test split, each real and then synthesised."""
    wanted = min(most, len(texts))
    places = np.linspace(0, len(texts) - 1, wanted).round().astype(int).tolist() if wanted else []
    recorded = real.sounds()
    return [
        samples.audio(encode(sounds[place], rate), f"{texts[place]} ({kind})")
        for place in places
        for kind, sounds in (("real", recorded), ("synthesised", said))
    ]
