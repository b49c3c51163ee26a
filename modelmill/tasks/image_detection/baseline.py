"""Baselines: detectors that learn next to nothing."""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage
from sklearn.linear_model import LogisticRegression

from modelmill.tasks.image_detection.detection import Boxes

# A blob's least difference from the picture's median colour, in values of a pixel summed over the channels.
DIFFERENCE = 120
LEAST_SIDE = 5
# Pixels a side of a blob, as the classifier sees it.
THUMB = 12


def average_boxes(training: list[Boxes], pictures: int, most: int) -> list[Boxes]:
    """Return the same boxes for every picture, with the most frequent class and the mean size.

    They are on a grid of nine places, nearest to the mean place first.

    Args:
        training: Boxes of the training split.
        pictures: How many pictures to return boxes for.
        most: The most boxes of a picture.
    """
    boxes = np.concatenate([one.boxes for one in training])
    label = np.bincount(np.concatenate([one.labels for one in training])).argmax()
    half = (boxes[:, 2:] - boxes[:, :2]).mean(0) / 2
    middles = (boxes[:, 2:] + boxes[:, :2]) / 2
    places = np.array([(x, y) for x in (0.25, 0.5, 0.75) for y in (0.25, 0.5, 0.75)])
    grid = np.array([[np.quantile(middles[:, axis], place[axis]) for axis in (0, 1)] for place in places])
    order = np.argsort(((grid - middles.mean(0)) ** 2).sum(1), kind="stable")[:most]
    average = Boxes(
        np.hstack([grid - half, grid + half])[order], np.full(len(order), label), np.linspace(1, 0.5, len(order))
    )
    return [average] * pictures


class Blobs:
    """A detector of connected pixels that differ from the rest of the picture.

    Logistic regression on a blob's pixels gives its class.
    """

    def __init__(self, images: Iterable[np.ndarray], truth: list[Boxes]) -> None:
        """Fit the classifier.

        Args:
            images: Pictures of the training split, each uint8, (3, height, width).
            truth: Their boxes.
        """
        thumbs = [
            _thumb(_difference(image), box) for image, one in zip(images, truth, strict=True) for box in one.boxes
        ]
        self.model = LogisticRegression(C=0.1, max_iter=200)
        self.model.fit(np.array(thumbs), np.concatenate([one.labels for one in truth]))

    def find(self, image: np.ndarray) -> Boxes:
        """Return the blobs of a picture.

        Args:
            image: uint8, (3, height, width).
        """
        difference = _difference(image)
        numbered, _ = ndimage.label(difference > DIFFERENCE, structure=np.ones((3, 3)))
        parts = [
            (columns.start, rows.start, columns.stop, rows.stop) for rows, columns in ndimage.find_objects(numbered)
        ]
        boxes = np.array(parts, np.float64).reshape(-1, 4)
        boxes = boxes[((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0) >= LEAST_SIDE)]
        if not len(boxes):
            return Boxes(boxes, np.zeros(0, np.int64), np.zeros(0))
        probabilities = self.model.predict_proba(np.array([_thumb(difference, box) for box in boxes]))
        return Boxes(boxes, self.model.classes_[probabilities.argmax(1)], probabilities.max(1))


def _difference(image: np.ndarray) -> np.ndarray:
    pixels = image.astype(np.float32)
    return np.abs(pixels - np.median(pixels, axis=(1, 2), keepdims=True)).sum(0)


def _thumb(difference: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the pixels of a box, scaled to `THUMB` x `THUMB`, as one vector."""
    left, top, right, bottom = np.round(box).astype(int).clip(0)
    part = difference[top : max(bottom, top + 1), left : max(right, left + 1)]
    rows, columns = (np.linspace(0, extent - 1, THUMB).round().astype(int) for extent in part.shape)
    return (part[np.ix_(rows, columns)] / 765).ravel()
