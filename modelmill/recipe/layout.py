"""How data lies in a folder, beside tables: layouts that are common in the field."""

from typing import Literal, get_args

Layout = Literal[
    "table", "image_folder", "metadata", "coco", "yolo", "common_voice", "librispeech", "conll", "webdataset"
]
MediaKind = Literal["images", "audio"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
# What the rows of a layout may name; where it is one kind alone, a recipe need not say so.
KINDS: dict[Layout, tuple[MediaKind | None, ...]] = {
    "table": (None, "images", "audio"),
    "image_folder": ("images",),
    "metadata": ("images", "audio"),
    "coco": ("images",),
    "yolo": ("images",),
    "common_voice": ("audio",),
    "librispeech": ("audio",),
    "conll": (None,),
    "webdataset": (None, "images", "audio"),
}


def media_of(layout: Layout, media: MediaKind | None) -> MediaKind | None:
    """Return the kind of the files that rows name, which a layout of one kind says itself.

    Args:
        layout: The layout.
        media: The kind that was chosen, if any.

    Raises:
        ValueError: The layout has no such files, or has several kinds and none was chosen.
    """
    kinds = KINDS[layout]
    if media in kinds:
        return media
    if media is None and len(kinds) == 1:
        return kinds[0]
    names = " or ".join(str(kind or "null") for kind in kinds)
    raise ValueError(f"media: with layout {layout} it is {names}, not {media or 'null'}")
