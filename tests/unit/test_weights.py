"""Weights to start from: a file of tensors that lie elsewhere than its header may say is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelmill.core.errors import UserError
from modelmill.runtime import weights
from modelmill.store import Store


def write(folder: Path, header: bytes, data: bytes) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)


def of_two(*offsets: list[int]) -> bytes:
    tensors = {f"t{n}": {"dtype": "F32", "shape": [1], "data_offsets": place} for n, place in enumerate(offsets)}
    return json.dumps(tensors).encode()


def test_a_file_as_safetensors_writes_it_is_taken(tmp_path: Path, store: Store) -> None:
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.ones(5, np.float16)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert weights.locate("pretraining.init", str(tmp_path), store) == tmp_path
    assert weights.matrices(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "header",
    [
        of_two([0, 4], [0, 8]),
        of_two([0, 4], [2, 8]),
        of_two([-4, 4], [4, 8]),
        of_two([0, 3], [4, 8]),
        of_two([4, 0], [4, 8]),
        of_two([0, 4]),
        b"[" * 100_000,
        b'{"a": ' * 50_000,
        b"[]",
        b'{"a": 1}',
    ],
    ids=["same", "overlap", "negative", "gap", "backwards", "rest", "nested list", "nested", "list", "number"],
)
def test_tensors_that_do_not_follow_each_other_are_refused(tmp_path: Path, store: Store, header: bytes) -> None:
    write(tmp_path, header, bytes(8))
    with pytest.raises(UserError, match=r"model\.safetensors is cut off or not safetensors"):
        weights.locate("pretraining.init", str(tmp_path), store)


def test_a_configuration_that_is_nested_without_end_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": ' * 50_000)
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        weights.read_config(tmp_path)
