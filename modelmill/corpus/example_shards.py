"""Examples in files of bounded size, written one after another and mapped into memory to be read in any order.

A split is a folder of parts. The first part of `train` has the files

- `train/00000.ids.npy`, uint64, (examples,): the identity of each example;
- `train/00000.NAME.npy`: the values of all its examples, one after another along the first axis;
- `train/00000.NAME.offsets.npy`, int64, (examples + 1,): where each example's values begin, and where the last end.
  A name whose value is one number has none.

The number of a part may be several, as in `00003.00000`, where each shard of the data has parts of its own.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from modelmill.corpus.array_file import ArrayFile

# Size in bytes at which a part is full.
PART_BYTES = 1 << 30
IDS, OFFSETS = "ids", "offsets"
# Files of a split that are mapped at a time; each takes a file descriptor, of which a process has few.
_OPEN = 128
_FILE = re.compile(r"(\d+(?:\.\d+)*)\.([A-Za-z_]\w*(?:\.offsets)?)\.npy")


class ShardedWriter:
    """Examples on their way to the files of their splits; memory does not grow with them.

    Attributes:
        folder: Folder of the files.
        counts: How many examples each split has.
    """

    def __init__(self, folder: Path, part_bytes: int = PART_BYTES) -> None:
        """Prepare to write; a split has no file before its first example.

        Args:
            folder: Folder of the files.
            part_bytes: Size at which a part is full.
        """
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self._part_bytes = part_bytes
        self._parts: dict[str, list[_Part]] = {}

    def add(self, split: str, identity: int, values: Mapping[str, np.ndarray]) -> None:
        """Write an example.

        Args:
            split: Name of the split.
            identity: Identity of the example, 64 bits without a sign.
            values: Arrays by name. Within a split a name has one type, and one shape but for the first axis.
        """
        parts = self._parts.setdefault(split, [])
        if not parts or parts[-1].bytes >= self._part_bytes:
            if parts:
                parts[-1].close()
            parts.append(_Part(self.folder, f"{split}/{len(parts):05d}", values))
        parts[-1].add(identity, values)
        self.counts[split] += 1

    def files(self) -> dict[str, Path]:
        """Return the files by their names, once they are closed."""
        return {name: path for parts in self._parts.values() for part in parts for name, path in part.files.items()}

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        for parts in self._parts.values():
            if parts:
                parts[-1].close()


class _Part:
    """One part of a split that is being written.

    Attributes:
        bytes: Size of its values so far.
        files: Its files by name.
    """

    def __init__(self, folder: Path, stem: str, values: Mapping[str, np.ndarray]) -> None:
        """Create the files for examples like the first one, whose values are given."""
        assert IDS not in values
        self.bytes = 0
        self.files: dict[str, Path] = {}
        self._folder, self._stem = folder, stem
        self._ids = self._create(IDS, np.dtype(np.uint64))
        self._values = {name: self._create(name, array.dtype, array.shape[1:]) for name, array in values.items()}
        ragged = [name for name, array in values.items() if array.ndim]
        self._offsets = {name: self._create(f"{name}.{OFFSETS}", np.dtype(np.int64)) for name in ragged}
        for file in self._offsets.values():
            file.append(np.zeros(1, np.int64))

    def add(self, identity: int, values: Mapping[str, np.ndarray]) -> None:
        """Write an example."""
        assert values.keys() == self._values.keys()
        self._ids.append(np.array([identity], np.uint64))
        for name, array in values.items():
            file = self._values[name]
            file.append(array if array.ndim else array[None])
            self.bytes += array.nbytes
            if name in self._offsets:
                self._offsets[name].append(np.array([file.length], np.int64))

    def close(self) -> None:
        """Close the files."""
        for file in (self._ids, *self._values.values(), *self._offsets.values()):
            file.close()

    def _create(self, name: str, dtype: np.dtype, shape: tuple[int, ...] = ()) -> ArrayFile:
        whole = f"{self._stem}.{name}.npy"
        assert _FILE.fullmatch(Path(whole).name), name
        self.files[whole] = self._folder / whole
        return ArrayFile(self.files[whole], dtype, shape)


def of_text(text: str) -> np.ndarray:
    """Return a text as values of an example: uint8, its bytes in UTF-8."""
    return np.frombuffer(text.encode(), np.uint8)


class ShardedExamples:
    """The examples of one split, part after part, mapped into memory; several threads may read them."""

    def __init__(self, files: Mapping[str, Path], split: str) -> None:
        """Find the parts of a split.

        Args:
            files: The corpus's files by their names in it.
            split: Name of the split; it has no examples if there is no part of it.
        """
        self._parts = _parts(files, split)
        self._mapped = lru_cache(maxsize=_OPEN)(_map)
        self._first = np.cumsum([0, *(len(_map(part[IDS])) for part in self._parts)], dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of examples."""
        return int(self._first[-1])

    @cached_property
    def ids(self) -> np.ndarray:
        """Identities of the examples: uint64, (examples,)."""
        return self._joined(IDS, np.dtype(np.uint64))

    def numbers(self, name: str) -> np.ndarray:
        """Return the values of a name whose value is one number, of all examples: (examples,)."""
        return self._joined(name, np.dtype(np.int64))

    def lengths(self, name: str) -> np.ndarray:
        """Return the length of each example's values along the first axis: int64, (examples,)."""
        lengths = [np.diff(_map(part[f"{name}.{OFFSETS}"])) for part in self._parts]
        return np.concatenate(lengths) if lengths else np.zeros(0, np.int64)

    def get(self, name: str, index: int) -> np.ndarray:
        """Return an example's values of a name, which must not be written to.

        Args:
            name: The name.
            index: Number of the example.
        """
        number = int(np.searchsorted(self._first, index, side="right")) - 1
        part, place = self._parts[number], index - int(self._first[number])
        values = self._mapped(part[name])
        if (offsets := part.get(f"{name}.{OFFSETS}")) is None:
            return values[place : place + 1].reshape(())
        begin, end = self._mapped(offsets)[place : place + 2].tolist()
        return values[begin:end]

    def has(self, name: str) -> bool:
        """Return whether examples have values of a name."""
        return bool(self._parts) and name in self._parts[0]

    def stacked(self, name: str, indices: np.ndarray) -> np.ndarray:
        """Return the values of examples that have one shape: (indices, ...)."""
        return np.stack([self.get(name, index) for index in indices.tolist()])

    def each(self, name: str) -> Iterator[np.ndarray]:
        """Yield the values of each example in order."""
        return (self.get(name, index) for index in range(len(self)))

    def text(self, name: str, index: int) -> str:
        """Return an example's text, as `of_text` has made values of it."""
        return self.get(name, index).tobytes().decode()

    def _joined(self, name: str, otherwise: np.dtype) -> np.ndarray:
        """Return the numbers of all parts; an empty array of a type where there is no part."""
        arrays = [_map(part[name]) for part in self._parts]
        return np.concatenate(arrays) if arrays else np.zeros(0, otherwise)


def _parts(files: Mapping[str, Path], split: str) -> list[dict[str, Path]]:
    """Return the files of each part in order, by the rest of their names."""
    parts: dict[tuple[int, ...], dict[str, Path]] = {}
    for name, path in files.items():
        folder, _, last = name.rpartition("/")
        if folder == split and (match := _FILE.fullmatch(last)):
            number = tuple(map(int, match[1].split(".")))
            parts.setdefault(number, {})[match[2]] = path
    return [parts[number] for number in sorted(parts)]


def _map(path: Path) -> np.ndarray:
    """Return the array of a file, which is read where it is looked at."""
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)  # slices of a memmap are slow
