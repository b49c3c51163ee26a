"""Folders of images by class: `CLASS/x.png`, or `SPLIT/CLASS/x.png`."""

from collections import defaultdict
from pathlib import PurePosixPath

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.data.data_files import DataFile
from modelmill.data.layouts.place import IMAGES, Place, nothing
from modelmill.data.listing import Listing
from modelmill.data.media.finding import with_media
from modelmill.data.shard import Shard

# Parts of an image's path: class and name, or split, class and name.
_DEPTHS = (2, 3)


def find(place: Place) -> list[Shard]:
    """Return a shard for each folder of a class.

    Raises:
        UserError: There is no image, one is in no folder of a class, or some are deeper than others.
    """
    images = data_files(place)
    if not images:
        raise nothing(place, f"no images there ({', '.join(IMAGES)}), each in the folder of its class")
    _check_depths(images)
    folders: dict[str, list[DataFile]] = defaultdict(list)
    for image in images:
        folders[image.path.rpartition("/")[0]].append(image)
    return [_shard(place, folder, some) for folder, some in sorted(folders.items())]


def data_files(place: Place) -> list[DataFile]:
    """Return the files that are rows."""
    return place.suffixed(*IMAGES)


def _check_depths(images: list[DataFile]) -> None:
    depths = {len(PurePosixPath(image.path).parts): image.path for image in reversed(images)}
    for depth, path in depths.items():
        if depth not in _DEPTHS:
            raise UserError(f"data.path: {path}: an image lies at CLASS/NAME or SPLIT/CLASS/NAME; move it")
    if len(depths) > 1:
        raise UserError(
            f"data.path: {depths[2]} is of a class and {depths[3]} of a class of a split; move one, or narrow data.path"
        )


def _shard(place: Place, folder: str, images: list[DataFile]) -> Shard:
    split, _, label = folder.rpartition("/")
    named = {PurePosixPath(image.path).name: image for image in images}
    listing = Listing(named, label=label, split=split)
    tag = digest.of_json([label, split])
    shard = Shard(folder, f"{place.root}{folder}", 0, tag, "listing", None, layout="image_folder", listing=listing)
    assert place.kind is not None
    return with_media(shard, place.kind, place.corrupt, named, named)
