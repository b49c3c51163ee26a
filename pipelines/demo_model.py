"""Base models for the recipes that ship, each from a package that holds one, and the data that they are trained on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from modelmill.core.errors import UserError
from modelmill.demo import efficientnet, minilm, packaged, smollm2, whisper
from modelmill.pipelines import demo_data

# By name: what writes the model into a folder, and whose demo data its recipe reads.
KNOWN: dict[str, tuple[Callable[[Path], bool], str]] = {
    "efficientnet": (
        partial(packaged.write, make=efficientnet.make),
        "image-classification-efficientnet",
    ),
    "minilm": (partial(packaged.write, make=minilm.make), "text-classification-minilm"),
    "smollm2": (smollm2.write, "python-lm"),
    "whisper": (partial(packaged.write, make=whisper.make), "speech-recognition"),
}


class Written(NamedTuple):
    """A demo model and the data of its recipe.

    Attributes:
        model: The model's folder.
        is_new: Whether the model was not there already.
        data: The data's folder.
    """

    model: Path
    is_new: bool
    data: Path


def write(name: str, folder: Path) -> Written:
    """Write a demo model and the data of its recipe, except for what is there already.

    Args:
        name: The model's name.
        folder: The folder of all data: the model goes to `models/NAME` in it.

    Raises:
        UserError: No such model, its package is missing, or the folder cannot be written.
    """
    if name not in KNOWN:
        raise UserError(f"{name}: no demo model of this name; there is {', '.join(KNOWN)}")
    write_model, data = KNOWN[name]
    try:
        is_new = write_model(folder / "models" / name)
    except OSError as error:
        raise UserError(f"{folder}: a demo model cannot be written ({error.strerror or error})") from error
    demo_data.write(data, folder / data)
    return Written(folder / "models" / name, is_new, folder / data)
