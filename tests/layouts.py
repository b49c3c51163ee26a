"""Data in layouts that are common in the field, for tests."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from modelmill.core.errors import UserError
from modelmill.data import shards
from tests.media import png

CLASSES = ["cat", "dog"]
# Two images of 6 x 4 pixels, and one without objects.
IMAGES = {"a.png": png(1), "b.png": png(2), "c.png": png(3)}
BOXES: dict[str, list[tuple[str, list[float]]]] = {
    "a.png": [("cat", [0, 1, 3, 4])],
    "b.png": [("dog", [1, 0, 6, 2]), ("cat", [0, 0, 1.5, 1])],
    "c.png": [],
}
CONLL = "-DOCSTART- -X- O\n\nAda NNP B-PER\nwrote VBD O\n\nParis NNP B-LOC\n"

# Members of a tar: two samples, and a file that is none.
SAMPLES: dict[str, bytes | str] = {
    "000.png": png(1),
    "000.cls": "3",
    "000.json": '{"caption": "one", "width": 9}',
    "x/001.json": '{"caption": "two", "width": 8}',
    "x/001.png": png(2),
    "x/001.cls": "4",
    "README": "no sample",
}


def write_all(folder: Path, files: dict[str, bytes | str]) -> Path:
    """Files below a folder, by their paths."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def coco(**changes: Any) -> dict[str, Any]:
    """Annotations of IMAGES with BOXES, a crowd and a mask; keys that are given are replaced."""
    names = list(IMAGES)
    boxes = [(names.index(name) + 1, label, box) for name, some in BOXES.items() for label, box in some]
    annotations: list[dict[str, Any]] = [
        {
            "id": number,
            "image_id": image,
            "category_id": CLASSES.index(label) + 7,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "iscrowd": 0,
        }
        for number, (image, label, box) in enumerate(boxes, 1)
    ]
    annotations[0]["segmentation"] = [[0, 1, 3, 1, 3, 4]]
    annotations.append({"id": 99, "image_id": 1, "category_id": 7, "bbox": [0, 0, 6, 4], "iscrowd": 1})
    document = {
        "images": [{"id": n, "file_name": name, "width": 6, "height": 4} for n, name in enumerate(names, 1)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, 7)],
    }
    return document | changes


def write_coco(folder: Path, **changes: Any) -> Path:
    """COCO's own folders: annotations in one, images in another."""
    files: dict[str, bytes | str] = {f"val2017/{name}": data for name, data in IMAGES.items()}
    return write_all(folder, files | {"annotations/instances_val2017.json": json.dumps(coco(**changes))})


def yolo_line(label: str, box: list[float]) -> str:
    left, top, right, bottom = box
    numbers = [(left + right) / 12, (top + bottom) / 8, (right - left) / 6, (bottom - top) / 4]
    return " ".join([str(CLASSES.index(label)), *(f"{number:.6f}" for number in numbers)]) + "\n"


def write_yolo(folder: Path) -> Path:
    """What Ultralytics' tools read: images/train and labels/train."""
    files: dict[str, bytes | str] = {f"images/train/{name}": data for name, data in IMAGES.items()}
    for name, some in BOXES.items():
        if some:
            files[f"labels/train/{Path(name).stem}.txt"] = "".join(yolo_line(*one) for one in some)
    return write_all(folder, files | {"data.yaml": "path: ../elsewhere\ntrain: images/train\nnames: [cat, dog]\n"})


def write_tar(file: Path, members: dict[str, bytes | str], *more: tarfile.TarInfo) -> Path:
    """A tar of members, and of some without content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            content = data.encode() if isinstance(data, str) else data
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in more:
            tar.addfile(info)
    return file


def read(folder: Path | str, layout: Any, media: Any = "images", corrupt: Any = "keep") -> list[dict[str, Any]]:
    found = shards.find(str(folder), "auto", media, corrupt, layout=layout)
    return [row for shard in found for row in shards.read(shard)[0].to_pylist()]


def fails(folder: Path | str, layout: Any, media: Any = "images", corrupt: Any = "refuse") -> str:
    with pytest.raises(UserError) as error:
        read(folder, layout, media, corrupt)
    assert "\n" not in str(error.value)
    return str(error.value)


def only(row: dict[str, Any], *names: str) -> list[Any]:
    return [row[name] for name in names]
