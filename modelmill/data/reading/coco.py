"""Annotations of COCO: one row an image, with the boxes and classes of its objects (https://cocodataset.org/#format-data)."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from modelmill.core.errors import UserError
from modelmill.data.reading import boxes
from modelmill.data.reading.blocks import Source, chunks, empty
from modelmill.data.reading.boxes import DECIMALS, Objects

KEYS = ("images", "annotations", "categories")
# Size that the boxes are of, which the file's must be; columns that are not kept.
WIDTH, HEIGHT = "annotated_width", "annotated_height"
_ROWS = 65_536


class _Image(NamedTuple):
    """An image with what is annotated of it: objects, and how many annotations are a crowd or have a mask."""

    row: dict[str, Any]
    objects: Objects
    counts: Counter[str]


def tables(source: Source) -> Iterator[pa.Table]:
    """Yield the images in pieces, in their order.

    Columns: `file`, `image_id`, `boxes` (left, top, right and bottom of each object, in pixels), `labels`, `crowds`,
    the number of annotations of crowds, which are no objects, and `masks`, that of segmentations, which are not read.

    Args:
        source: File to read, which is held in memory whole.

    Raises:
        UserError: It is not JSON, not COCO's, or an annotation does not fit the rest; the message names it.
    """
    document = _document(source)
    images = _images(document["images"], source.where)
    _annotate(images, _classes(document["categories"], source.where), document["annotations"], source.where)
    every = list(images.values())
    for start in range(0, max(len(every), 1), _ROWS):
        yield _table(every[start : start + _ROWS])


def _document(source: Source) -> dict[str, Any]:
    data = b"".join(chunks(source, has_lines=False))
    if not data:
        raise empty(source.where)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source.where}: not valid JSON ({error}); write the file again") from None
    for key in KEYS:
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise UserError(f"{source.where}: no COCO annotations: it has no list {key!r}; narrow data.path")
        for place, one in enumerate(document[key], 1):
            if not isinstance(one, dict):
                raise UserError(f"{source.where}: {key}: number {place} is no object; correct the file")
    return document


def _images(listed: list[dict[str, Any]], where: str) -> dict[Any, _Image]:
    images: dict[Any, _Image] = {}
    for place, one in enumerate(listed, 1):
        number, name = one.get("id"), one.get("file_name")
        if not isinstance(number, int) or not isinstance(name, str):
            raise UserError(f"{where}: images: number {place} lacks a whole `id` or a `file_name`; correct the file")
        if number in images:
            raise UserError(f"{where}: images: id {number} is there twice; correct the file")
        size = [one.get(side) if isinstance(one.get(side), int) else None for side in ("width", "height")]
        row = {"file": name, "image_id": number, WIDTH: size[0], HEIGHT: size[1]}
        images[number] = _Image(row, Objects([], []), Counter())
    return images


def _classes(listed: list[dict[str, Any]], where: str) -> dict[Any, str]:
    names = {one.get("id"): one.get("name") for one in listed}
    if not all(isinstance(name, str) and name for name in names.values()) or len(names) < len(listed):
        raise UserError(f"{where}: categories: each needs an `id` of its own and a `name`; correct the file")
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise UserError(f"{where}: categories: {twice[0]!r} is the name of two; rename one")
    return {number: str(name) for number, name in names.items()}


def _annotate(images: dict[Any, _Image], classes: dict[Any, str], listed: list[dict[str, Any]], where: str) -> None:
    for place, one in enumerate(listed, 1):
        called = f"{where}: annotation {one.get('id', f'number {place}')}"
        image, label = _known(images, one.get("image_id")), _known(classes, one.get("category_id"))
        if image is None:
            raise UserError(f"{called}: image_id {one.get('image_id')!r} is none of `images`; correct the file")
        if label is None:
            raise UserError(f"{called}: category_id {one.get('category_id')!r} is none of `categories`; correct it")
        image.counts["masks"] += bool(one.get("segmentation"))
        if one.get("iscrowd"):
            image.counts["crowds"] += 1
            continue
        box = one.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(boxes.is_number, box)):
            raise UserError(f"{called}: bbox {box!r:.80} is not x, y, width and height; correct it")
        x, y, width, height = box
        image.objects.boxes.append([float(round(side, DECIMALS)) for side in (x, y, x + width, y + height)])
        image.objects.labels.append(label)


def _known(of: dict[Any, Any], number: Any) -> Any:
    return of.get(number) if isinstance(number, int | str) else None


def _table(images: list[_Image]) -> pa.Table:
    types = {"file": pa.string(), "image_id": pa.int64(), WIDTH: pa.int64(), HEIGHT: pa.int64()}
    columns = {name: pa.array([one.row[name] for one in images], type_) for name, type_ in types.items()}
    columns |= boxes.columns([one.objects for one in images])
    for name in ("crowds", "masks"):
        columns[name] = pa.array([one.counts[name] for one in images], pa.int64())
    return pa.table(columns)
