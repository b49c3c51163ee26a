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
from modelmill.tasks.image_detection import baseline, trivial
from modelmill.tasks.image_detection.decoding import chosen, decode
from modelmill.tasks.image_detection.detection import IOUS, Boxes, matched, mean_average_precision
from modelmill.tasks.image_detection.framed import Framed
from modelmill.tasks.image_detection.recipe import Recipe
from modelmill.tasks.image_detection.task import Pictures, picture_losses
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

BATCH = 64
# Pictures of a checkpoint's detector, which may be large.
FRAMED = 8
# The least probability of a box in `map50`.
LEAST = 0.01
# The longer side in pixels of a picture in the report, at most.
SHOWN = 640
# The trivial detectors.
SAME, BLOBS = "the same average boxes everywhere", "blobs and logistic regression"


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's pictures.

    Metrics are `map50`, `map` as COCO has it, and two means over pictures: `f1`, of boxes whose probability is the
    recipe's `confidence` at least, and `loss` in nats.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings, classes = recipe.evaluation, task.corpus.info["classes"]
    model = task.load(loading.fetch_model(step, step.inputs[FINE_TUNED])).to(hardware.pick_device()).eval()
    held_out, training = (task.examples("fine_tuning", split) for split in ("test", "train"))
    is_framed = isinstance(held_out, Framed)
    detections, losses = detect_framed(task, model, held_out, step) if is_framed else detect(model, held_out)
    truth = known_boxes(held_out)
    sure = [chosen(one, one.scores >= settings.confidence) for one in detections]
    scores = np.array([f1(one, its) for one, its in zip(sure, truth, strict=True)])
    value = mean_average_precision(detections, truth, len(classes))
    overall = np.mean([mean_average_precision(detections, truth, len(classes), least) for least in IOUS])
    metrics = {"map50": value, "map": float(overall), "f1": float(scores.mean()), "loss": float(losses.mean())}
    table = _rows(truth, scores, losses, held_out.ids, training.ids)
    shown = _shown(settings.samples, held_out, truth, sure, classes)
    if not settings.baseline:
        return EvaluationResult(metrics, table, {samples.FILE: shown})
    step.progress(1, 2, "trivial detectors")
    bars = _trivial_framed(training, held_out) if is_framed else _trivial(training, held_out, len(truth))
    bounds = {what: mean_average_precision(its, truth, len(classes)) for what, its in bars.items()}
    # The model has to be better than they are.
    baselines = tuple(Baseline("map50", what, value, least=bound) for what, bound in bounds.items())
    return EvaluationResult(metrics, table, {samples.FILE: shown}, baselines)


def _trivial(training: Pictures, held_out: Pictures, pictures: int) -> dict[str, list[Boxes]]:
    """Return what trivial detectors find in the held-out pictures, by what they are."""
    known = known_boxes(training)
    blobs = baseline.Blobs(training.examples.each("images"), known)
    return {
        SAME: baseline.average_boxes(known, pictures, 9),
        BLOBS: [blobs.find(image) for image in held_out.examples.each("images")],
    }


def _trivial_framed(training: Framed, held_out: Framed) -> dict[str, list[Boxes]]:
    """Return what trivial detectors find in the held-out pictures, whose sizes may differ, by what they are."""
    return {SAME: trivial.average(training, held_out), BLOBS: trivial.blobs(training, held_out)}


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


@torch.no_grad()
def detect_framed(task: Any, model: Any, examples: Framed, step: Step) -> tuple[list[Boxes], np.ndarray]:
    """Return the boxes of each picture in its own pixels, best first, and its loss, float64, (pictures,).

    Args:
        task: The task of a checkpoint's detector.
        model: The detector.
        examples: The pictures.
        step: The running step.
    """
    where = next(model.parameters()).device
    detections: list[Boxes] = []
    losses = []
    for first in range(0, len(examples), FRAMED):
        step.progress(first, len(examples), "pictures")
        indices = np.arange(first, min(first + FRAMED, len(examples)))
        batch = to_device(examples.batch(indices), where)
        found, its = task.answers(model, batch, [examples.size(index) for index in indices.tolist()], LEAST)
        detections += found
        losses.append(its.double().cpu().numpy())
    return detections, np.concatenate(losses)


def known_boxes(examples: Pictures | Framed) -> list[Boxes]:
    """Return the known objects of each picture."""
    if isinstance(examples, Framed):
        return [examples.known(index) for index in range(len(examples))]
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


def _shown(
    most: int, examples: Pictures | Framed, truth: list[Boxes], detections: list[Boxes], classes: list[str]
) -> list[Any]:
    """Return pictures that are spread evenly over the test split."""
    places = np.linspace(0, len(examples) - 1, min(most, len(examples))).round().astype(int).tolist()
    shown = []
    for place in places:
        known, its = (_described(one[place], classes) for one in (truth, detections))
        known = [{key: one[key] for key in ("box", "label")} for one in known]
        pixels = (
            examples.pixels(place) if isinstance(examples, Framed) else _upright(examples.examples.get("images", place))
        )
        size = (pixels.shape[1], pixels.shape[0])
        shown.append(samples.boxes(png(trivial.smaller(pixels, SHOWN)), size, known, its))
    return shown


def _upright(image: np.ndarray) -> np.ndarray:
    return image.transpose(1, 2, 0)


def _described(boxes: Boxes, classes: list[str]) -> list[dict[str, Any]]:
    return [
        {"box": [round(side, 1) for side in box], "label": classes[label], "score": round(score, 3)}
        for box, label, score in zip(*(part.tolist() for part in boxes), strict=True)
    ]
