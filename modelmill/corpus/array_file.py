"""Arrays written a piece at a time, so that none is ever in memory whole."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from modelmill.corpus.packing import Packed


class ArrayFile:
    """A one-dimensional .npy file that grows; closed, it holds the very bytes of `np.save`."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.dtype = dtype
        self.length = 0
        self._file = open(path, "wb")  # noqa: SIM115  closed by close
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        assert values.dtype == self.dtype
        self._file.write(np.ascontiguousarray(values).data)
        self.length += len(values)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        """The format leaves room for the length to grow: the header has the same size for every length."""
        described = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length,),
        }
        np.lib.format.write_array_header_1_0(self._file, described)


class PackedFiles:
    """A packed stream in the files `STEM.tokens.npy`, `STEM.offsets.npy` and, for pairs, `STEM.learned.npy`.

    None is there before the first batch. `position` is where the next batch starts.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder = folder
        self.stem = stem
        self.position = 0
        self._files: dict[str, ArrayFile] = {}
        self._last: dict[str, np.ndarray] = {}

    def append(self, packed: Packed) -> None:
        """Write a batch but for the END that closes it, which the next batch begins with."""
        arrays = {kind: array for kind, array in packed._asdict().items() if array is not None}
        for kind, array in arrays.items():
            name = f"{self.stem}.{kind}.npy"
            if name not in self._files:
                self._files[name] = ArrayFile(self.folder / name, array.dtype)
            self._files[name].append(array[:-1])
            self._last[name] = array[-1:]
        self.position += len(packed.tokens) - 1

    def files(self) -> dict[str, Path]:
        return {name: file.path for name, file in self._files.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, file in self._files.items():
            file.append(self._last[name])
            file.close()
