"""Evaluation of an image generator: distances of its images to held-out ones, by features and by pixels."""

from typing import Any

import numpy as np

from modelmill.champion.comparison import rows
from modelmill.data.media.images import png
from modelmill.measures import samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.image_generation import features
from modelmill.tasks.image_generation.generating import generate
from modelmill.tasks.image_generation.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of generated images, against held-out ones that have the labels of fine-tuning.

    Metrics:

    - `frechet`: See `features.frechet`. `frechet_before` is that of the pretrained model, `frechet_real` that of all
      real training images, which no model gets much below, and `frechet_noise` that of noise.
    - `distance`: Root mean square distance of a held-out image's pixels, from 0 to 1, to those of the nearest generated
      image, on average.
    - `classifier_accuracy`: Accuracy on held-out images of all labels of the classifier that makes the features.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings, seed = recipe.evaluation, recipe.seed
    training, held_out = (task.examples("fine_tuning", split) for split in ("train", "test"))
    known, test = training.arrays, held_out.arrays
    step.progress(0, 3, "learning a classifier")
    seen = features.learn(
        np.asarray(known["images"]), np.asarray(known["labels"]), len(task.corpus.info["classes"]), seed
    )
    real = np.asarray(test["images"])[held_out.rows]
    target = seen.of(real)

    def distance(images: np.ndarray) -> float:
        """Return the Frechet distance of images to the held-out ones."""
        return features.frechet(seen.of(images), target)

    step.progress(1, 3, "generating")
    made = generated(step, task, step.inputs[FINE_TUNED], settings.generated, seed)
    draws = np.random.default_rng(seed)
    noise = draws.integers(0, 256, made.shape, np.uint8)
    nearest = nearest_distances(real, made)
    metrics = {
        "frechet": distance(made),
        "distance": float(nearest.mean()),
        "frechet_real": distance(np.asarray(known["images"])[np.asarray(known["is_target"])]),
        "frechet_noise": distance(noise),
        "classifier_accuracy": seen.accuracy(np.asarray(test["images"]), np.asarray(test["labels"])),
    }
    learned = np.asarray(known["images"])[training.rows]
    bounds = {
        "noise": metrics["frechet_noise"],
        "a Gaussian of the pixels": distance(gaussian(learned, len(made), draws)),
    }
    if step.inputs[PRETRAINED].entries:
        step.progress(2, 3, "generating, before fine-tuning")
        before = distance(generated(step, task, step.inputs[PRETRAINED], settings.generated, seed))
        bounds["before fine-tuning"] = metrics["frechet_before"] = before
    baselines = [Baseline("frechet", what, metrics["frechet"], most=bound) for what, bound in bounds.items()]
    table = _rows(task, held_out, nearest, training.ids)
    shown = [samples.image(png(one.transpose(1, 2, 0)), f"made {n}") for n, one in enumerate(made[: settings.samples])]
    return EvaluationResult(metrics, table, {samples.FILE: shown}, tuple(baselines) if settings.baseline else ())


def generated(step: Step, task: Any, model: Manifest, count: int, seed: int) -> np.ndarray:
    """Return images that a model makes: uint8, (count, channels, size, size)."""
    network = task.load(loading.fetch_model(step, model)).to(hardware.pick_device()).eval()
    noise = np.random.default_rng([seed, 1]).standard_normal((count, network.latent), np.float32)
    return generate(network, noise)


def gaussian(images: np.ndarray, count: int, draws: np.random.Generator) -> np.ndarray:
    """Return random images whose pixels have the mean and the covariance of those given.

    Args:
        images: uint8, (images, channels, size, size).
        count: How many to return.
        draws: The random numbers.
    """
    flat = images.reshape(len(images), -1).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    made = flat.mean(axis=0) + draws.standard_normal((count, len(flat))) @ centred / np.sqrt(len(flat))
    return made.round().clip(0, 255).astype(np.uint8).reshape(count, *images.shape[1:])


def nearest_distances(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Return the distance of each real image to the nearest generated one: float64, (real,).

    It is the root mean square distance of their pixels, from 0 to 1.

    Args:
        real: uint8, (real, channels, size, size).
        made: uint8, (made, channels, size, size).
    """
    one, other = (images.reshape(len(images), -1).astype(np.float64) / 255 for images in (real, made))
    squares = (one**2).sum(axis=1)[:, None] - 2 * one @ other.T + (other**2).sum(axis=1)
    return np.sqrt(squares.min(axis=1).clip(0) / one.shape[1])


def _rows(task: Any, examples: Any, distances: np.ndarray, training_ids: np.ndarray) -> list[dict[str, Any]]:
    names = rows.unique_ids(f"{one:016x}" for one in examples.ids.tolist())
    labels = np.asarray(examples.arrays["labels"])[examples.rows]
    seen = np.isin(examples.ids, training_ids)
    return [
        {
            "example": name,
            "set": "rows",
            "model": "after",
            "slices": [f"label={task.corpus.info['classes'][label]}"],
            "loss": float(distances[number]),
            "weight": 1.0,
            "contaminated": bool(seen[number]),
        }
        for number, (name, label) in enumerate(zip(names, labels.tolist(), strict=True))
    ]
