"""A folder of images whose rows no file lists: the images themselves are the rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelmill.data.data_files import DataFile


@dataclass(frozen=True)
class Listing:
    """The images of a folder, and what their place says of them.

    Attributes:
        images: The images, by their names in rows.
        label: Class of all of them; None where boxes have classes.
        split: Split that the folder is, such as `train`; empty if none is named.
        classes: Names of the classes that numbers in files of boxes stand for.
        boxes: Files of boxes, by the names of their images; an image without one has no object.
    """

    images: Mapping[str, DataFile] = field(compare=False, repr=False)
    label: str | None = None
    split: str = ""
    classes: tuple[str, ...] = ()
    boxes: Mapping[str, DataFile] = field(default_factory=dict, compare=False, repr=False)
