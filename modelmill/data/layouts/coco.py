"""COCO's layout: JSON files of annotations, and images that may lie in other folders."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath

from modelmill.core.errors import UserError
from modelmill.data.data_files import NOT_HIDDEN, DataFile, listed
from modelmill.data.layouts.place import IMAGES, Place, format_of, nothing, tagged
from modelmill.data.media.finding import FILE, usable, with_media
from modelmill.data.shard import Shard, TableStream

# The folder of annotations, beside which the images are, and the beginning of the names of those with boxes.
_FOLDER, _BOXES = "annotations", "instances_"


def find(place: Place) -> list[Shard]:
    """Return a shard for each file of annotations: those named `instances_*` where there are such, else all JSON files.

    Raises:
        UserError: There is none, or images of one name are in several folders.
    """
    files = annotations(place)
    if not files:
        raise nothing(place, "no COCO annotations there (.json)")
    images = _Images(place)
    return [_with_images(shard, place, images) for shard in tagged(files, _shard)]


def data_files(place: Place) -> list[DataFile]:
    """Return the files that rows are made of."""
    return [*annotations(place), *place.suffixed(*IMAGES)]


def annotations(place: Place) -> list[DataFile]:
    """Return the files of annotations, by their names."""
    found = place.suffixed(".json")
    boxes = [file for file in found if PurePosixPath(file.path).name.startswith((_BOXES, NOT_HIDDEN))]
    return boxes or found


def _shard(file: DataFile) -> Shard:
    return Shard(*file, *format_of(file, "coco"), layout="coco")


def _with_images(shard: Shard, place: Place, images: "_Images") -> Shard:
    """Return annotations with their images; those that cannot be read have none, and reading says what is wrong."""
    assert place.kind is not None
    names: set[str] = set()
    try:
        for piece in TableStream(shard):
            names |= set(usable(piece[FILE].to_pylist()))
    except UserError:
        names = set()
    return with_media(shard, place.kind, place.corrupt, images.of(shard, names), names)


class _Images:
    """The images at a place, found by the names that annotations have of them."""

    def __init__(self, place: Place) -> None:
        folder = place.root.rstrip("/")
        if folder.endswith(f"/{_FOLDER}"):
            folder = folder.rpartition("/")[0]
            self._root, self._files = f"{folder}/", listed(folder)
        else:
            self._root, self._files = place.root, list(place.widened().values())
        self._by_uri = {file.uri: file for file in self._files}
        self._by_name: dict[str, list[DataFile]] = defaultdict(list)
        for file in self._files:
            self._by_name[file.uri.rpartition("/")[2]].append(file)

    def of(self, shard: Shard, names: set[str]) -> Mapping[str, DataFile]:
        """Return the images of some annotations, by the names that these have of them."""
        return {name: file for name in names if (file := self._find(shard, name)) is not None}

    def _find(self, shard: Shard, name: str) -> DataFile | None:
        """Return the image of this name: beside the annotations, at the root, or the only one in any folder."""
        for folder in (shard.uri.rpartition("/")[0] + "/", self._root):
            if (file := self._by_uri.get(f"{folder}{name}")) is not None:
                return file
        found = [file for file in self._by_name[name.rpartition("/")[2]] if file.uri.endswith(f"/{name}")]
        if len(found) > 1:  # instances_train2017.json is of train2017
            stem = PurePosixPath(shard.path).name
            found = [file for file in found if _folder_of(file, name) in stem] or found
        if len(found) > 1:
            raise UserError(f"{shard.uri}: image {name} is both {found[0].uri} and {found[1].uri}; narrow data.path")
        return found[0] if found else None


def _folder_of(file: DataFile, name: str) -> str:
    """Return the name of the folder that an image's name starts from."""
    return file.uri.removesuffix(f"/{name}").rpartition("/")[2]
