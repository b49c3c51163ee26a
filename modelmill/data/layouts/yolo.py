"""YOLO's layout: images, beside them or in a parallel folder a text of boxes for each, and a YAML file of classes."""

from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

import yaml

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data import media_files
from modelmill.data.data_files import DataFile
from modelmill.data.layouts.place import IMAGES, Place, nothing
from modelmill.data.listing import Listing
from modelmill.data.media.finding import with_media
from modelmill.data.shard import Shard

_SPLITS = ("train", "val", "test")
_IMAGES, _LABELS = "images", "labels"


def find(place: Place) -> list[Shard]:
    """Return a shard for each folder of images.

    Raises:
        UserError: There is no image, or no YAML file that names the classes, or several.
    """
    images = place.suffixed(*IMAGES)
    if not images:
        raise nothing(place, f"no images there ({', '.join(IMAGES)})")
    description = _description(place)
    there = {file.path: file for file in place.files}
    if not any(boxes_of(image.path) in there for image in images):
        raise nothing(place, f"no files of boxes there, such as {boxes_of(images[0].path)} for {images[0].path}")
    folders: dict[str, list[DataFile]] = defaultdict(list)
    for image in images:
        folders[image.path.rpartition("/")[0]].append(image)
    return [_shard(place, folder, some, description, there) for folder, some in sorted(folders.items())]


def data_files(place: Place) -> list[DataFile]:
    """Return the files that rows are made of."""
    images = place.suffixed(*IMAGES)
    texts = {boxes_of(image.path) for image in images}
    return [*images, *describing(place), *(file for file in place.files if file.path in texts)]


def describing(place: Place) -> list[DataFile]:
    """Return the YAML files at the top of a place."""
    return [file for file in place.suffixed(".yaml", ".yml") if "/" not in file.path]


def boxes_of(image: str) -> str:
    """Return the path of an image's boxes: the last folder `images` is `labels` there, and the suffix `.txt`."""
    parts = list(PurePosixPath(image).with_suffix(".txt").parts)
    if _IMAGES in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index(_IMAGES)
        parts[last] = _LABELS
    return "/".join(parts)


def classes(description: dict[str, Any], where: str) -> tuple[str, ...]:
    """Return the names of the classes in the order of their numbers.

    Args:
        description: What the YAML file holds.
        where: Name of the file in errors.

    Raises:
        UserError: They are no list and no mapping of numbers from 0 on, or one is there twice.
    """
    names = description.get("names")
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(map(str, range(len(names)))):
        by_number = {int(number): name for number, name in names.items()}
        names = [by_number[number] for number in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int) for name in names):
        raise UserError(f"{where}: names: write the classes as a list, or as a mapping of numbers from 0 on")
    texts = tuple(map(str, names))
    if twice := [name for name in texts if texts.count(name) > 1]:
        raise UserError(f"{where}: names: {twice[0]!r} is there twice; rename one")
    return texts


def read(file: DataFile) -> dict[str, Any] | None:
    """Return what a YAML file holds, None where it is no description of such data.

    Raises:
        UserError: It is not YAML, or cannot be read.
    """
    sized = file if file.tag else media_files.on_disk(file)
    try:
        document = yaml.safe_load(media_files.text(sized)) if sized else None
    except yaml.YAMLError as error:
        raise UserError(f"{file.uri}: not valid YAML ({' '.join(str(error).split())}); correct the file") from None
    return document if isinstance(document, dict) and "names" in document else None


class _Description:
    def __init__(self, file: DataFile, document: dict[str, Any]) -> None:
        self.classes = classes(document, file.uri)
        self._folders = {split: _folders(document.get(split)) for split in _SPLITS}

    def split_of(self, folder: str) -> str:
        """Return the split whose folder this is, by the end of its path: paths in the file are of another machine."""
        for split, named in self._folders.items():
            if any(f"/{one}/" in f"/{folder}/" or f"/{one}/".endswith(f"/{folder}/") for one in named):
                return split
        return ""


def _folders(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    paths = ["/".join(p for p in one.split("/") if p not in ("", ".", "..")) for one in values if isinstance(one, str)]
    return [path for path in paths if path]


def _description(place: Place) -> _Description:
    described = [(file, document) for file in describing(place) if (document := read(file)) is not None]
    if len(described) != 1:
        found = ", ".join(file.path for file, _ in described) or "none"
        raise nothing(place, f"one YAML file with the `names` of the classes belongs at the top; there is {found}")
    return _Description(*described[0])


def _shard(
    place: Place, folder: str, images: list[DataFile], described: _Description, there: dict[str, DataFile]
) -> Shard:
    named = {PurePosixPath(image.path).name: image for image in images}
    boxes = {name: file for name, image in named.items() if (file := _sized(there.get(boxes_of(image.path))))}
    listing = Listing(named, split=described.split_of(folder), classes=described.classes, boxes=boxes)
    uri = f"{place.root}{folder}".rstrip("/")
    tag = digest.of_json([described.classes, listing.split, [[name, file.tag] for name, file in sorted(boxes.items())]])
    size = sum(file.bytes for file in boxes.values())
    shard = Shard(folder or ".", uri, size, tag, "listing", None, layout="yolo", listing=listing)
    assert place.kind is not None
    return with_media(shard, place.kind, place.corrupt, named, named)


def _sized(file: DataFile | None) -> DataFile | None:
    return file if file is None or file.tag else media_files.on_disk(file)
