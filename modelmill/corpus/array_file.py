"""Arrays that are written to files piece by piece, so that none is ever whole in memory."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from modelmill.corpus.packing import Packed


class ArrayFile:
    """A .npy file that grows along its first axis; once closed, it holds the bytes that `np.save` would write.

    Attributes:
        path: The file.
        dtype: Type of the values.
        shape: The shape without the first axis.
        length: Length of the first axis.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...] = ()) -> None:
        """Create the file and its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.dtype = dtype
        self.shape = shape
        self.length = 0
        self._file = open(path, "wb")  # noqa: SIM115  closed by close
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        """Write values of the file's type and shape."""
        assert values.dtype == self.dtype and values.shape[1:] == self.shape
        self._file.write(np.ascontiguousarray(values).data)
        self.length += len(values)

    def close(self) -> None:
        """Write the final length into the header and close the file."""
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        """Write the header; the format leaves room, so that it has the same size for every length."""
        described = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": (self.length, *self.shape),
        }
        np.lib.format.write_array_header_1_0(self._file, described)


class PackedFiles:
    """A packed stream in the files `STEM.tokens.npy`, `STEM.offsets.npy` and, for pairs, `STEM.learned.npy`.

    No file exists before the first batch.

    Attributes:
        folder: The folder of the files.
        stem: The stem of their names.
        position: Position in the stream at which the next batch starts.
    """

    def __init__(self, folder: Path, stem: str) -> None:
        """Prepare the stream; no file is created yet."""
        self.folder = folder
        self.stem = stem
        self.position = 0
        self._files: dict[str, ArrayFile] = {}
        self._last: dict[str, np.ndarray] = {}

    def append(self, packed: Packed) -> None:
        """Write a batch without the END that closes it, with which the next batch begins."""
        arrays = {kind: array for kind, array in packed._asdict().items() if array is not None}
        for kind, array in arrays.items():
            name = f"{self.stem}.{kind}.npy"
            if name not in self._files:
                self._files[name] = ArrayFile(self.folder / name, array.dtype)
            self._files[name].append(array[:-1])
            self._last[name] = array[-1:]
        self.position += len(packed.tokens) - 1

    def files(self) -> dict[str, Path]:
        """Return the files by their names."""
        return {name: file.path for name, file in self._files.items()}

    def __enter__(self) -> Self:
        """Return the stream itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the last END and close the files."""
        for name, file in self._files.items():
            file.append(self._last[name])
            file.close()
