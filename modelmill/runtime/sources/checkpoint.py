"""The weights in a model folder, in one file or in shards: which files they are, and whether they are whole."""

from collections import Counter
from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.runtime.sources import headers, layout
from modelmill.runtime.sources.headers import Tensor
from modelmill.runtime.sources.layout import ADAPTER, CONFIG, INDEX, WEIGHTS

_TORCH_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


def check(where: str, folder: Path) -> None:
    """Check that a folder holds a configuration and whole weights; every shard is looked at, one by one.

    Args:
        where: Key and source, for messages.
        folder: The model's folder.

    Raises:
        UserError: A file is missing, cut off, not safetensors or a pickle, or the index names other shards or tensors.
    """
    if not (folder / CONFIG).is_file():
        if (folder / ADAPTER).is_file():
            raise layout.without_weights(where, [ADAPTER])
        raise UserError(f"{where}: no {CONFIG} in it; is it a folder written by save_pretrained?")
    if (folder / WEIGHTS).is_file():
        _read(where, folder / WEIGHTS)
    elif (folder / INDEX).is_file():
        _check_shards(where, folder)
    else:
        raise layout.without_weights(where, [file.name for file in folder.iterdir()])


def weight_files(folder: Path) -> list[Path]:
    """Return the files with a model's weights: the one that `from_pretrained` prefers, or the shards in order."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        return []
    return [folder / name for name in sorted(set(layout.weight_map(str(folder), folder / INDEX).values()))]


def tensors(folder: Path) -> dict[str, Tensor]:
    """Return a model's tensors by name, over all shards, from the headers alone.

    Raises:
        UserError: A file is cut off or not safetensors.
    """
    every: dict[str, Tensor] = {}
    for file in weight_files(folder):
        every |= _read(str(folder), file)
    return every


def dtype_of(folder: Path) -> str:
    """Return the name of the type that most bytes of a model's weights have, such as `bfloat16`."""
    sizes: Counter[str] = Counter()
    for tensor in tensors(folder).values():
        if tensor.dtype in _TORCH_NAMES:
            sizes[tensor.dtype] += tensor.bytes
    # With equal counts the wider type, so that nothing is rounded for a draw.
    largest = max(sizes, key=lambda name: (sizes[name], name == "F32"), default="F32")
    return _TORCH_NAMES[largest]


def matrices(folder: Path) -> list[str]:
    """Return the names of a model's two-dimensional tensors."""
    return [name for name, tensor in tensors(folder).items() if len(tensor.shape) == 2]


def _check_shards(where: str, folder: Path) -> None:
    wanted = layout.weight_map(where, folder / INDEX)
    shards = sorted(set(wanted.values()))
    if missing := [name for name in shards if not (folder / name).is_file()]:
        raise UserError(
            f"{where}: {missing[0]} is missing, one of {len(shards)} shards that {INDEX} names; copy it, too"
        )
    if extra := sorted(f.name for f in folder.iterdir() if layout.is_shard(f.name) and f.name not in shards):
        raise UserError(f"{where}: {extra[0]} is a shard that {INDEX} does not name; is it of another checkpoint?")
    for shard in shards:
        held = _read(where, folder / shard).keys()
        named = {tensor for tensor, its in wanted.items() if its == shard}
        if lacking := sorted(named - held):
            raise UserError(
                f"{where}: {shard} has no tensor {lacking[0]}, which {INDEX} says is in it; copy both again"
            )
        if strange := sorted(held - named):
            raise UserError(
                f"{where}: {shard} holds {strange[0]}, which {INDEX} does not say is in it; copy both again"
            )


def _read(where: str, file: Path) -> dict[str, Tensor]:
    try:
        return headers.read(file)
    except ValueError as error:
        raise UserError(f"{where}: {file.name} is cut off or not safetensors; save or copy the model again") from error
