"""Evaluation of speech enhancement: gains in signal-to-distortion ratio, of a Wiener filter as well."""

from typing import Any

import numpy as np
import torch

from modelmill.champion.comparison import rows
from modelmill.data.media import audio
from modelmill.measures import samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.speech_enhancement import sounds, wiener
from modelmill.tasks.speech_enhancement.recipe import Recipe
from modelmill.tasks.speech_enhancement.task import Recordings
from modelmill.training import loading
from modelmill.training.device import hardware

# Ratios in dB below which a recording counts as very noisy, and as noisy.
VERY_NOISY, QUITE_NOISY = 0, 5
Sounds = list[np.ndarray]


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the enhanced recordings of the test split.

    Metrics are means over recordings: `si_sdr` of the network's output and `si_sdr_improvement`, its gain over the
    noisy recording, both in dB, and `loss`.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings, rate = recipe.evaluation, task.corpus.info["sample_rate"]
    held_out, training = (task.examples("fine_tuning", split) for split in ("test", "train"))
    noisy, clean = (sounds_of(held_out, name) for name in ("samples", "targets"))
    made = enhanced(_load(step, task, step.inputs[FINE_TUNED]), noisy)
    before, after = ratios(noisy, clean), ratios(made, clean)
    gains = after - before
    losses = np.array([float(sounds.error(_tensor(a), _tensor(b))) for a, b in zip(made, clean, strict=True)])
    value = float(gains.mean())
    metrics = {"si_sdr": float(after.mean()), "si_sdr_improvement": value, "loss": float(losses.mean())}
    seen = np.isin(held_out.ids, training.ids)
    table = [
        {
            "example": name,
            "set": "rows",
            "model": "after",
            "slices": [f"input={_loudness(float(before[place]))}"],
            "loss": float(losses[place]),
            "score": float(gains[place]),
            "weight": 1.0,
            "contaminated": bool(seen[place]),
        }
        for place, name in enumerate(rows.unique_ids(f"{one:016x}" for one in held_out.ids.tolist()))
    ]
    shown = _shown(settings.samples, rate, noisy, clean, made, before, after)
    if not settings.baseline:
        return EvaluationResult(metrics, table, {samples.FILE: shown})
    bounds = {"the noisy recording": 0.0}
    step.progress(1, 3, "a Wiener filter")
    filtered = [wiener.enhance(one, rate) for one in noisy]
    bounds["a Wiener filter"] = float((ratios(filtered, clean) - before).mean())
    pretrained = step.inputs[PRETRAINED]
    if pretrained.entries:
        step.progress(2, 3, "before fine-tuning")
        earlier = enhanced(_load(step, task, pretrained), noisy)
        bounds["before fine-tuning"] = float((ratios(earlier, clean) - before).mean())
    baselines = tuple(Baseline("si_sdr_improvement", what, value, least=bound) for what, bound in bounds.items())
    return EvaluationResult(metrics, table, {samples.FILE: shown}, baselines)


@torch.no_grad()
def enhanced(model: Any, noisy: Sounds) -> Sounds:
    """Return each recording as the network enhances it, by itself."""
    where = next(model.parameters()).device
    return [model(_tensor(one)[None].to(where))[0].cpu().numpy() for one in noisy]


def ratios(estimates: Sounds, clean: Sounds) -> np.ndarray:
    """Return the `sounds.si_sdr` of each recording: float64, (recordings,)."""
    return np.array([float(sounds.si_sdr(_tensor(a), _tensor(b))) for a, b in zip(estimates, clean, strict=True)])


def sounds_of(examples: Recordings, name: str) -> Sounds:
    """Return each recording's samples: float32, where full scale is 1.

    Args:
        examples: The recordings.
        name: `samples` or `targets`.
    """
    batches = (examples.batch(np.array([place])) for place in range(len(examples)))
    return [batch[name][0].numpy() for batch in batches]


def _load(step: Step, task: Any, model: Manifest) -> Any:
    return task.load(loading.fetch_model(step, model)).to(hardware.pick_device()).eval()


def _tensor(sound: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(sound))


def _loudness(ratio: float) -> str:
    return "very noisy" if ratio < VERY_NOISY else "noisy" if ratio < QUITE_NOISY else "less noisy"


def _shown(
    most: int, rate: int, noisy: Sounds, clean: Sounds, made: Sounds, before: np.ndarray, after: np.ndarray
) -> list[samples.Sample]:
    """Return recordings that are spread evenly over the test split, each noisy, enhanced and clean."""
    shown = []
    for place in np.linspace(0, len(noisy) - 1, min(most, len(noisy))).round().astype(int).tolist():
        for sound, caption in (
            (noisy, f"{place + 1}: noisy, {before[place]:.1f} dB"),
            (made, f"{place + 1}: enhanced, {after[place]:.1f} dB"),
            (clean, f"{place + 1}: clean"),
        ):
            shown.append(samples.audio(audio.encode(sound[place], rate), caption))
    return shown
