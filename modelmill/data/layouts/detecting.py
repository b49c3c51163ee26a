"""Detection of a layout, from the names of files and the beginning of few of them."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from modelmill.core.errors import UserError
from modelmill.data.data_files import DataFile, open_file, read_range, with_tag
from modelmill.data.layouts import coco, image_folders, place, tables, yolo
from modelmill.data.layouts.place import IMAGES, Place
from modelmill.data.shard import Shard, TableStream
from modelmill.recipe.layout import Layout, MediaKind

_SOUNDS = (".wav", ".flac", ".mp3")
_TABLES = (".csv", ".jsonl", ".ndjson", ".parquet", ".arrow")
# Bytes of a file that are looked at.
_HEAD = 1 << 16
_TAG = re.compile(r"O|[BIESLU]-\S+")


class Found(NamedTuple):
    """How data seems to lie.

    Attributes:
        layout: The layout.
        media: Kind of the files that rows name.
    """

    layout: Layout
    media: MediaKind | None = None


def detect(path: str, ignore: list[str] | None = None) -> Found:
    """Return how data seems to lie; tables where nothing speaks for another layout.

    Args:
        path: A folder, a file, a glob pattern, or one of these below `s3://`.
        ignore: Patterns of names of files that are no data.

    Raises:
        UserError: There is nothing of that name, or it cannot be read.
    """
    there = place.look(path, ignore)
    for looks in _LOOKS:
        if (found := looks(there)) is not None:
            return found
    return Found("table")


def _webdataset(there: Place) -> Found | None:
    tars = there.suffixed(".tar")
    if not tars:
        return None
    try:
        first = next(iter(TableStream(Shard(*with_tag(tars[0]), "tar", None, layout="webdataset"))))
    except UserError:
        return Found("webdataset")
    names = first["file"].drop_null().to_pylist() if "file" in first.column_names else []
    return Found("webdataset", _kind_of(names[0]) if names else None)


def _librispeech(there: Place) -> Found | None:
    return Found("librispeech", "audio") if tables.data_files(there, "librispeech") else None


def _common_voice(there: Place) -> Found | None:
    heads = [_head(file).split("\n")[0].split("\t") for file in there.suffixed(tables.VOICES)[:3]]
    is_voice = any({"client_id", "path", "sentence"} <= set(head) for head in heads)
    return Found("common_voice", "audio") if is_voice else None


def _metadata(there: Place) -> Found | None:
    files = tables.data_files(there, "metadata")
    media = [kind for file in there.files if (kind := _kind_of(file.path))]
    if not files or not media:
        return None
    is_named = any("file_name" in _head(file) for file in files if not file.path.endswith(".parquet"))
    return Found("metadata", media[0]) if is_named or files[0].path.endswith(".parquet") else None


def _yolo(there: Place) -> Found | None:
    if not there.suffixed(*IMAGES) or not any(yolo.read(file) for file in yolo.describing(there)):
        return None
    return Found("yolo", "images")


def _coco(there: Place) -> Found | None:
    files = coco.annotations(there)
    heads = [_head(file) for file in files[:3]]
    return Found("coco", "images") if any(_is_coco(head) for head in heads) else None


def _image_folder(there: Place) -> Found | None:
    if there.suffixed(*_TABLES):
        return None
    images = image_folders.data_files(there)
    return Found("image_folder", "images") if images and any("/" in one.path for one in images) else None


def _conll(there: Place) -> Found | None:
    files = tables.data_files(there, "conll")
    return Found("conll") if files and all(_is_conll(file) for file in files[:3]) else None


# The first that fits is taken.
_LOOKS: tuple[Callable[[Place], Found | None], ...] = (
    _webdataset,
    _librispeech,
    _common_voice,
    _metadata,
    _yolo,
    _coco,
    _image_folder,
    _conll,
)


def _is_coco(head: str) -> bool:
    """Return whether the beginning of a file is one of annotations: an object with some of their keys."""
    return (
        head.lstrip().startswith("{")
        and re.search(r'"(images|annotations|categories|info|licenses)"\s*:', head) is not None
    )


def _is_conll(file: DataFile) -> bool:
    """Return whether a file has lines of the same number of columns, the last a tag, and blank lines between them."""
    if file.path.endswith(".conllu"):
        return True
    lines = [line for line in _head(file).split("\n")[:-1] if not line.startswith("-DOCSTART-")]
    rows = [line.split() for line in lines if line.strip()]
    tagged = bool(rows) and all(len(row) > 1 and _TAG.fullmatch(row[-1]) for row in rows)
    return tagged and len({len(row) for row in rows}) == 1


def _kind_of(name: str) -> MediaKind | None:
    suffix = PurePosixPath(name).suffix.lower()
    return "images" if suffix in IMAGES else "audio" if suffix in _SOUNDS else None


def _head(file: DataFile) -> str:
    """Return the beginning of a file as text; an empty text where it is compressed or cannot be read."""
    if place.suffix_of(file.path) != PurePosixPath(file.path).suffix.lower():
        return ""
    try:
        if file.uri.startswith("s3://"):
            return read_range(file.uri, file.tag, 0, min(file.bytes, _HEAD)).decode("utf-8", "replace")
        with open_file(file.uri, file.tag, file.bytes) as stream:
            return stream.read(_HEAD).decode("utf-8", "replace")
    except UserError:
        return ""
