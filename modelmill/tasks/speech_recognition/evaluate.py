"""Evaluation of a speech recogniser: character and word error rates, also of the pretrained network."""

from typing import Any

import numpy as np
import torch

from modelmill.champion.comparison import rows
from modelmill.data.media.audio import encode
from modelmill.measures import samples, transcripts
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.measures.transcripts import UNITS
from modelmill.recipe.step_specs import FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.speech_recognition.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware

METRICS = {"characters": "character_error_rate", "words": "word_error_rate"}


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the error rates of the test split, decoded greedily.

    The split is that of the corpus that was trained on last. `..._before` are the rates of the pretrained network,
    where it was fine-tuned.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    tuned, pretrained = step.inputs[FINE_TUNED], step.inputs[PRETRAINED]
    is_tuned = bool(tuned.info["trained"]) and tuned.info["stage"] == "fine_tuning"
    last = "fine_tuning" if is_tuned else "pretraining"
    held_out, training = (task.examples(last, split) for split in ("test", "train"))
    said, trained_on = task.said(held_out), task.said(training)

    step.progress(0, 2, "held-out recordings")
    heard = {"after": task.heard(_load(step, task, tuned), held_out)}
    if is_tuned and pretrained.entries:
        step.progress(1, 2, "held-out recordings, before fine-tuning")
        heard["before"] = task.heard(_load(step, task, pretrained), held_out)
    metrics: dict[str, float] = {}
    baselines, table = [], []
    for unit in UNITS:
        edits = {when: transcripts.compare(said, texts, unit) for when, texts in heard.items()}
        name, rate = METRICS[unit], edits["after"].rate
        metrics |= {name if when == "after" else f"{name}_{when}": one.rate for when, one in edits.items()}
        constant, bound = transcripts.best_constant(trained_on, said, unit)
        baselines.append(Baseline(name, f"always {constant!r}", rate, most=bound))
        if "before" in edits:
            baselines.append(Baseline(name, "before fine-tuning", rate, most=edits["before"].rate))
        table += _rows(unit, edits, said, held_out.ids, training.ids)
    shown = _shown(recipe.evaluation.samples, held_out, said, heard["after"], task.corpus.info["sample_rate"])
    return EvaluationResult(
        metrics, table, {samples.FILE: shown}, tuple(baselines) if recipe.evaluation.baseline else ()
    )


def _load(step: Step, task: Any, model: Manifest) -> Any:
    loaded: torch.nn.Module = task.load(loading.fetch_model(step, model))
    return loaded.to(hardware.pick_device()).eval()


def _rows(
    unit: str, edits: dict[str, transcripts.Edits], said: list[str], ids: np.ndarray, training_ids: np.ndarray
) -> list[dict[str, Any]]:
    """Return a row for each recording and model, with its edits and its length in characters or words."""
    names = rows.unique_ids(f"{one:016x}" for one in ids.tolist())
    seen = np.isin(ids, training_ids)
    return [
        {
            "example": name,
            "set": unit,
            "model": when,
            "slices": [f"words={min(len(said[number].split()), 5)}"],
            "score": float(its.edits[number]),
            "weight": float(its.sizes[number]),
            "contaminated": bool(seen[number]),
        }
        for when, its in edits.items()
        for number, name in enumerate(names)
    ]


def _shown(most: int, recordings: Any, said: list[str], heard: list[str], rate: int) -> list[samples.Sample]:
    """Return recordings that are spread evenly over the test split, with what was said and heard."""
    wanted = min(most, len(said))
    places = np.linspace(0, len(said) - 1, wanted).round().astype(int).tolist() if wanted else []
    return [
        samples.audio(
            encode(recordings.sound(place), rate),
            f"said: {said[place]} | heard: {heard[place] or '(nothing)'}",
        )
        for place in places
    ]
