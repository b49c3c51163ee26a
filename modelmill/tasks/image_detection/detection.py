"""Boxes: which a network's maps say, how much two overlap, and how precise those of many pictures are."""

from typing import NamedTuple

import numpy as np

IOU = 0.5


class Boxes(NamedTuple):
    """boxes: left, top, right and bottom in pixels, float64, (objects, 4). labels: numbers of classes, (objects,).
    scores: (objects,), 1 of what is known.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray


def overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of each with each: (some, others)."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    common = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (some, others)]
    return common / np.maximum(areas[0][:, None] + areas[1][None] - common, 1e-9)


def matched(found: Boxes, truth: Boxes) -> np.ndarray:
    """Which of the found boxes are right, best first taken: each known object is found once, by a box of its class that
    overlaps it by half at least; bool, (found,).
    """
    is_right, taken = np.zeros(len(found.scores), bool), np.zeros(len(truth.labels), bool)
    common = overlaps(found.boxes, truth.boxes)
    for place in np.argsort(-found.scores, kind="stable"):
        fitting = np.where((truth.labels == found.labels[place]) & ~taken, common[place], 0.0)
        if len(fitting) and fitting.max() >= IOU:
            is_right[place] = taken[fitting.argmax()] = True
    return is_right


def mean_average_precision(found: list[Boxes], truth: list[Boxes], classes: int) -> float:
    """Mean over the classes that are there of the area under precision by recall, at an IoU of 0.5, where precision is
    the highest at that recall or a higher one (Everingham et al., 2014, https://doi.org/10.1007/s11263-014-0733-5).
    """
    rights = np.concatenate([matched(one, its) for one, its in zip(found, truth, strict=True)])
    scores, labels, known = (
        np.concatenate(parts)
        for parts in ([o.scores for o in found], [o.labels for o in found], [o.labels for o in truth])
    )
    order = np.argsort(-scores, kind="stable")
    rights, labels = rights[order], labels[order]
    counts = np.bincount(known, minlength=classes)
    return float(np.mean([_area(rights[labels == one], counts[one]) for one in np.flatnonzero(counts)]))


def _area(rights: np.ndarray, known: int) -> float:
    precision = rights.cumsum() / np.arange(1, len(rights) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((highest * rights).sum() / known)
