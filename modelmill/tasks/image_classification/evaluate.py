"""Evaluation of an image classifier, with logistic regression on pixels as a baseline."""

from typing import Any

import numpy as np
import torch

from modelmill.data.media.images import png
from modelmill.measures import classification, samples
from modelmill.measures.evaluation_result import EvaluationResult
from modelmill.measures.logistic import Labelled, logistic_regression
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.image_classification.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

BATCH = 256
# Values of a batch at most, where images are large.
VALUES = 8 << 20
# Pixels a side of an image in the baseline, and images of the training split in it at most, where a checkpoint decides
# the size of images.
SIDE, BASELINE = 32, 20_000
# Pixels a side of an image in the report.
SHOWN = 128


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's images; see `classification.measure`.

    The baselines are the shares of the classes and logistic regression on the pixels, fitted on the labels that
    fine-tuning has seen.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    assert isinstance(step.recipe, Recipe)
    settings = step.recipe.evaluation
    model = task.load(loading.fetch_model(step, step.inputs[FINE_TUNED]))
    training, validation, held_out = (task.examples("fine_tuning", split) for split in ("train", "validation", "test"))
    probabilities = _probabilities(task, model, held_out)
    truth = held_out.labels
    measured = classification.measure(task.classes, truth, probabilities, held_out.ids, training.ids)
    shown = _shown(settings.samples, task.classes, held_out, probabilities)
    measured = measured._replace(files=measured.files | {samples.FILE: shown})
    if not settings.baseline:
        return measured
    shares = classification.shares(training.labels, truth, len(task.classes), measured.metrics["loss"])
    pixels = Labelled(*map(_pixels, (training, validation, held_out)))
    linear = logistic_regression("the pixels", pixels, len(task.classes), measured.metrics)
    return measured._replace(baselines=(shares, *linear))


@torch.no_grad()
def _probabilities(task: Any, model: torch.nn.Module, examples: Any) -> np.ndarray:
    """Return the probability of each class, float64, (examples, classes)."""
    where = hardware.pick_device()
    model.to(where).float().eval()  # as it is served
    values = examples.batch(np.arange(1))[task.input].numel()
    size, parts = max(1, min(BATCH, VALUES // values)), []
    for first in range(0, len(examples), size):
        batch = to_device(examples.batch(np.arange(first, min(first + size, len(examples)))), where)
        parts.append(torch.softmax(task.logits(model, batch[task.input]).double(), dim=1).cpu())
    return torch.cat(parts).numpy()


def _pixels(examples: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels from 0 to 1, float32, (examples, channels x height x width), and the labels."""
    places = np.arange(len(examples))
    if hasattr(examples, "squares") and len(places) > BASELINE:
        places = np.linspace(0, len(places) - 1, BASELINE).astype(np.int64)
    images = _images(examples, places, SIDE)
    return images.reshape(len(images), -1).astype(np.float32) / 255, examples.labels[places]


def _images(examples: Any, places: np.ndarray, size: int) -> np.ndarray:
    """Return images, uint8, (images, channels, height, width), of a size where they are kept as files."""
    if hasattr(examples, "squares"):
        squares: np.ndarray = examples.squares(places, size)
        return squares
    images: np.ndarray = examples.batch(places)["images"].numpy()
    return images


def _shown(most: int, classes: list[str], examples: Any, probabilities: np.ndarray) -> list[samples.Sample]:
    """Return images with predictions: up to a half are the surest mistakes, the rest is spread over the test split."""
    if not most:
        return []
    truth, predicted, sure = examples.labels, probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    wrong = wrong[np.argsort(-sure[wrong], kind="stable")][: most // 2]
    rest = np.setdiff1d(np.arange(len(truth)), wrong)
    spread = np.linspace(0, len(rest) - 1, min(most - len(wrong), len(rest))).round().astype(int)
    places = np.concatenate([wrong, rest[spread]])
    images = _images(examples, places, SHOWN).transpose(0, 2, 3, 1)
    return [
        samples.image(png(image), f"{classes[truth[place]]}: found {classes[predicted[place]]} ({sure[place]:.0%})")
        for place, image in zip(places.tolist(), images, strict=True)
    ]
