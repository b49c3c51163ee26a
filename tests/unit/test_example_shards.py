"""Examples that are written part by part, and read in any order."""

from pathlib import Path

import numpy as np
import pytest

from modelmill.corpus import example_shards
from modelmill.corpus.example_shards import ShardedExamples, ShardedWriter


def _example(number: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(number)
    return {
        "tokens": random.integers(0, 1 << 16, number % 7, dtype=np.uint16),
        "boxes": random.random((number % 3, 4), dtype=np.float32),
        "label": np.array(number % 5, np.int64),
    }


def _written(folder: Path, numbers: range, part_bytes: int = 64) -> dict[str, Path]:
    with ShardedWriter(folder, part_bytes) as writer:
        for number in numbers:
            writer.add("test" if number % 4 == 0 else "train", number, _example(number))
    return writer.files()


def _require_equal(examples: ShardedExamples, numbers: list[int]) -> None:
    assert len(examples) == len(numbers)
    assert examples.ids.tolist() == numbers
    assert examples.numbers("label").tolist() == [number % 5 for number in numbers]
    assert examples.lengths("tokens").tolist() == [number % 7 for number in numbers]
    for index in np.random.default_rng(0).permutation(len(numbers)).tolist():
        for name, array in _example(numbers[index]).items():
            found = examples.get(name, index)
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert np.array_equal(found, array)


def test_examples_are_read_in_any_order_over_parts_of_bounded_size(tmp_path: Path) -> None:
    files = _written(tmp_path, range(60))
    assert sum(name.endswith(".ids.npy") and name.startswith("train/") for name in files) > 5
    largest = max(array.nbytes for number in range(60) for array in _example(number).values())
    assert all(np.load(path).nbytes < 64 + largest for name, path in files.items() if name.endswith("tokens.npy"))
    _require_equal(ShardedExamples(files, "train"), [number for number in range(60) if number % 4])
    _require_equal(ShardedExamples(files, "test"), list(range(0, 60, 4)))
    assert len(ShardedExamples(files, "validation")) == 0


def test_parts_of_several_shards_follow_one_another(tmp_path: Path) -> None:
    files = {}
    for shard in (11, 2):  # the number decides, not the order of the files or of its digits
        written = _written(tmp_path / str(shard), range(shard * 100, shard * 100 + 30))
        files |= {name.replace("/", f"/{shard}."): path for name, path in written.items()}
    numbers = [number for first in (200, 1100) for number in range(first, first + 30) if number % 4]
    _require_equal(ShardedExamples(files, "train"), numbers)


def test_more_files_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_shards, "_OPEN", 2)
    files = _written(tmp_path, range(60), part_bytes=1)
    _require_equal(ShardedExamples(files, "train"), [number for number in range(60) if number % 4])


def test_files_of_other_splits_and_kinds_are_not_examples(tmp_path: Path) -> None:
    files = _written(tmp_path, range(8))
    np.save(tmp_path / "labels.npy", np.zeros(3))
    others = {"train/labels.npy": tmp_path / "labels.npy", "train/only/00000.ids.npy": tmp_path / "labels.npy"}
    _require_equal(ShardedExamples(files | others, "train"), [1, 2, 3, 5, 6, 7])
