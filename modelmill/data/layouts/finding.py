"""Finding of the shards of data that lies in another layout than tables."""

from modelmill.data.data_files import DataFile
from modelmill.data.layouts import coco, image_folders, place, tables, tars, yolo
from modelmill.data.layouts.place import Place
from modelmill.data.media_files import CorruptPolicy, Kind
from modelmill.data.shard import Shard
from modelmill.recipe.layout import Layout

_FOLDERS = {"image_folder": image_folders, "coco": coco, "yolo": yolo, "webdataset": tars}


def find(layout: Layout, path: str, kind: Kind | None, corrupt: CorruptPolicy, ignore: list[str] | None) -> list[Shard]:
    """Return the shards at a place, in sorted order.

    Args:
        layout: How the data lies; not `table`.
        path: A folder, a file, a glob pattern, or one of these below `s3://`.
        kind: What the files are that rows name.
        corrupt: What happens to rows whose file is missing or broken.
        ignore: Patterns of names of files that are no data.

    Raises:
        UserError: Nothing of the layout is there, or it cannot be read.
    """
    there = place.look(path, ignore, kind, corrupt)
    return _FOLDERS[layout].find(there) if layout in _FOLDERS else tables.find(there, layout)


def unused(layout: Layout, path: str, ignore: list[str] | None) -> list[str]:
    """Return the names of files beside data that no row is made of; of media without a listing, none.

    Args:
        layout: How the data lies; not `table`.
        path: Where it lies.
        ignore: Patterns of names of files that are no data.
    """
    there = place.look(path, ignore)
    used = {file.uri for file in _used(layout, there)}
    return sorted(file.path for file in there.files if file.uri not in used)


def _used(layout: Layout, there: Place) -> list[DataFile]:
    if layout in _FOLDERS:
        return _FOLDERS[layout].data_files(there)
    return tables.data_files(there, layout) if layout == "conll" else there.files
