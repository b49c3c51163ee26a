"""Headers of safetensors files: names, types, shapes and places of the tensors, read without the tensors."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

# As in safetensors itself.
_LONGEST_HEADER = 100_000_000
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


class Tensor(NamedTuple):
    """A tensor of a checkpoint, without its values.

    Attributes:
        dtype: Name of the type as safetensors has it, such as `BF16`.
        shape: Its dimensions.
        bytes: Size of its values.
    """

    dtype: str
    shape: tuple[int, ...]
    bytes: int


def read(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name: eight bytes of length, JSON with offsets, then values without a gap.

    Args:
        file: The safetensors file.

    Raises:
        ValueError: The file is cut off, or its values do not lie where and as the header says.
    """
    try:
        length, header = _header(file)
        tensors = {name: _tensor(one) for name, one in header.items()}
        end = _end_of(header)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not safetensors") from error
    if 8 + length + end != file.stat().st_size:
        raise ValueError("cut off")
    return tensors


def _header(file: Path) -> tuple[int, dict[str, Any]]:
    with open(file, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(file.stat().st_size - 8, _LONGEST_HEADER):
            raise ValueError("cut off")
        header = json.loads(opened.read(length))
    return length, {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def _tensor(described: dict[str, Any]) -> Tensor:
    dtype, shape, (begin, end) = described["dtype"], tuple(described["shape"]), described["data_offsets"]
    bits = _BITS.get(dtype)
    if bits is not None and math.prod(shape) * bits != (end - begin) * 8:
        raise ValueError("a tensor of another size")
    return Tensor(dtype, shape, end - begin)


def _end_of(header: dict[str, Any]) -> int:
    """Return where the values end, which must follow each other without a gap and without an overlap."""
    end = 0
    for begin, next_end in sorted(tensor["data_offsets"] for tensor in header.values()):
        if begin != end or next_end < begin:
            raise ValueError("tensors overlap")
        end = next_end
    return end
