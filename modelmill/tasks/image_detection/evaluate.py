"""Evaluation of a detector: average precision of its boxes on held-out pictures, and of trivial detectors."""

from typing import Any

import numpy as np
import torch

from modelmill.champion.comparison import rows
from modelmill.data.media.images import png
from modelmill.measures import samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.image_detection import baseline
from modelmill.tasks.image_detection.decoding import chosen, decode
from modelmill.tasks.image_detection.detection import Boxes, matched, mean_average_precision
from modelmill.tasks.image_detection.recipe import Recipe
from modelmill.tasks.image_detection.task import Pictures, picture_losses
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

BATCH = 64
# The least probability of a box in `map50`.
LEAST = 0.01


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's pictures.

    Metrics are `map50` and two means over pictures: `f1`, of boxes whose probability is the recipe's `confidence` at
    least, and `loss` in nats.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings, classes = recipe.evaluation, task.corpus.info["classes"]
    model = task.load(loading.fetch_model(step, step.inputs[FINE_TUNED])).to(hardware.pick_device()).eval()
    held_out, training = (task.examples("fine_tuning", split) for split in ("test", "train"))
    detections, losses = detect(model, held_out)
    truth, known = known_boxes(held_out), known_boxes(training)
    sure = [chosen(one, one.scores >= settings.confidence) for one in detections]
    scores = np.array([f1(one, its) for one, its in zip(sure, truth, strict=True)])
    value = mean_average_precision(detections, truth, len(classes))
    metrics = {"map50": value, "f1": float(scores.mean()), "loss": float(losses.mean())}
    table = _rows(truth, scores, losses, held_out.ids, training.ids)
    shown = _shown(settings.samples, held_out, truth, sure, classes)
    if not settings.baseline:
        return EvaluationResult(metrics, table, {samples.FILE: shown})
    step.progress(1, 2, "trivial detectors")
    blobs = baseline.Blobs(training.examples.each("images"), known)
    trivial = {
        "the same average boxes everywhere": baseline.average_boxes(known, len(truth), 9),
        "blobs and logistic regression": [blobs.find(image) for image in held_out.examples.each("images")],
    }
    bounds = {what: mean_average_precision(its, truth, len(classes)) for what, its in trivial.items()}
    # The model has to be better than they are.
    baselines = tuple(Baseline("map50", what, value, least=bound) for what, bound in bounds.items())
    return EvaluationResult(metrics, table, {samples.FILE: shown}, baselines)


@torch.no_grad()
def detect(model: Any, examples: Pictures) -> tuple[list[Boxes], np.ndarray]:
    """Return the boxes of each picture, best first, and its loss in nats, float64, (pictures,).

    Args:
        model: The detector.
        examples: The pictures.
    """
    where = next(model.parameters()).device
    detections: list[Boxes] = []
    losses = []
    for first in range(0, len(examples), BATCH):
        batch = to_device(examples.batch(np.arange(first, min(first + BATCH, len(examples)))), where)
        heat, sides = model(batch["images"])
        losses.append(picture_losses(heat, sides, batch["boxes"], batch["labels"]).double().cpu().numpy())
        detections += decode(heat, sides, LEAST)
    return detections, np.concatenate(losses)


def known_boxes(examples: Pictures) -> list[Boxes]:
    """Return the known objects of each picture."""
    pairs = zip(*(examples.examples.each(name) for name in ("boxes", "labels")), strict=True)
    return [Boxes(boxes.astype(np.float64), labels, np.ones(len(labels))) for boxes, labels in pairs]


def f1(detections: Boxes, truth: Boxes) -> float:
    """Return 2 right / (detections + known objects); 1 where there are neither.

    Args:
        detections: Boxes that a detector gives.
        truth: The known objects.
    """
    count = len(detections.labels) + len(truth.labels)
    return 2 * float(matched(detections, truth).sum()) / count if count else 1.0


def _rows(
    truth: list[Boxes], scores: np.ndarray, losses: np.ndarray, ids: np.ndarray, training_ids: np.ndarray
) -> list[dict[str, Any]]:
    seen = np.isin(ids, training_ids)
    return [
        {
            "example": name,
            "set": "rows",
            "model": "after",
            "slices": [f"objects={len(truth[place].labels)}"],
            "loss": float(losses[place]),
            "score": float(scores[place]),
            "weight": 1.0,
            "contaminated": bool(seen[place]),
        }
        for place, name in enumerate(rows.unique_ids(f"{one:016x}" for one in ids.tolist()))
    ]


def _shown(most: int, pictures: Pictures, truth: list[Boxes], detections: list[Boxes], classes: list[str]) -> list[Any]:
    """Return pictures that are spread evenly over the test split."""
    places = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).round().astype(int)
    shown = []
    for place in places.tolist():
        known, its = (_described(one[place], classes) for one in (truth, detections))
        known = [{key: one[key] for key in ("box", "label")} for one in known]
        image = pictures.examples.get("images", place).transpose(1, 2, 0)
        shown.append(samples.boxes(png(image), (image.shape[1], image.shape[0]), known, its))
    return shown


def _described(boxes: Boxes, classes: list[str]) -> list[dict[str, Any]]:
    return [
        {"box": [round(side, 1) for side in box], "label": classes[label], "score": round(score, 3)}
        for box, label, score in zip(*(part.tolist() for part in boxes), strict=True)
    ]
