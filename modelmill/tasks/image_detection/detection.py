"""Boxes, their overlaps, and the average precision of detections."""

from typing import NamedTuple

import numpy as np

IOU = 0.5
# Overlaps that COCO averages over (Lin et al., 2014, https://arxiv.org/abs/1405.0312).
IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))


class Boxes(NamedTuple):
    """The objects of a picture.

    Attributes:
        boxes: Left, top, right and bottom in pixels, float64, (objects, 4).
        labels: Numbers of classes, (objects,).
        scores: Probabilities, (objects,), 1 where the objects are known.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each box with each other: (some, others).

    Args:
        some: (some, 4).
        others: (others, 4).
    """
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (some, others)]
    return common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-9)


def matched(detections: Boxes, truth: Boxes, least: float = IOU) -> np.ndarray:
    """Return which detections are right: bool, (detections,).

    Best first, each takes the known object of its class that it overlaps most, if that is enough; no object is taken
    twice.

    Args:
        detections: Boxes that a detector gives.
        truth: The known objects.
        least: Least intersection over union.
    """
    is_right, taken = np.zeros(len(detections.scores), bool), np.zeros(len(truth.labels), bool)
    common = overlaps(detections.boxes, truth.boxes)
    for place in np.argsort(-detections.scores, kind="stable"):
        fitting = np.where((truth.labels == detections.labels[place]) & ~taken, common[place], 0.0)
        if len(fitting) and fitting.max() >= least:
            is_right[place] = taken[fitting.argmax()] = True
    return is_right


def mean_average_precision(detections: list[Boxes], truth: list[Boxes], classes: int, least: float = IOU) -> float:
    """Return the mean average precision at an intersection over union, over the classes that occur.

    A class's average precision is the area under precision by recall, where precision is the highest at that recall or
    a higher one (Everingham et al., 2014, https://doi.org/10.1007/s11263-014-0733-5).

    Args:
        detections: Boxes that a detector gives, of each picture.
        truth: The known objects of each picture.
        classes: How many classes there are.
        least: Least intersection over union of a box that is right.
    """
    rights = np.concatenate([matched(one, its, least) for one, its in zip(detections, truth, strict=True)])
    scores, labels, known = (
        np.concatenate(parts)
        for parts in ([o.scores for o in detections], [o.labels for o in detections], [o.labels for o in truth])
    )
    order = np.argsort(-scores, kind="stable")
    rights, labels = rights[order], labels[order]
    counts = np.bincount(known, minlength=classes)
    return float(np.mean([_area(rights[labels == one], counts[one]) for one in np.flatnonzero(counts)]))


def _area(rights: np.ndarray, known: int) -> float:
    precision = rights.cumsum() / np.arange(1, len(rights) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((highest * rights).sum() / known)
