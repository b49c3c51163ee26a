"""Weights to start from: a file of tensors that lie elsewhere than its header may say is refused."""

import json
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelmill.core.errors import UserError
from modelmill.runtime import compatibility, weights
from modelmill.store import Store
from tests import checkpoints


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


def change_index(folder: Path, **changes: str | None) -> None:
    """Put tensors into other shards, or leave them out, in the index."""
    index = json.loads((folder / checkpoints.INDEX).read_text())
    index["weight_map"] = {name: its for name, its in (index["weight_map"] | changes).items() if its is not None}
    (folder / checkpoints.INDEX).write_text(json.dumps(index))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint in two shards."""
    return checkpoints.write(tmp_path / "m", checkpoints.sharded())


def test_a_sharded_checkpoint_is_read_as_one(folder: Path, store: Store) -> None:
    assert weights.locate("pretraining.init", str(folder), store) == folder
    assert [file.name for file in weights.weight_files(folder)] == list(checkpoints.SHARDS)
    assert {name: (one.dtype, one.shape) for name, one in weights.tensors(folder).items()} == {
        "a.weight": ("F16", (2, 3)),
        "b.weight": ("F16", (4, 4)),
        "c": ("F32", (2,)),
    }
    assert weights.dtype_of(folder) == "float16"
    assert weights.matrices(folder) == ["a.weight", "b.weight"]


@pytest.mark.parametrize("name", [*checkpoints.SHARDS, checkpoints.INDEX, "config.json", "generation_config.json"])
def test_the_digest_is_of_every_file_that_a_model_is_loaded_from(folder: Path, name: str) -> None:
    before = weights.digest(folder)
    assert weights.digest(checkpoints.write(folder.with_name("other"), checkpoints.sharded())) == before
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert weights.digest(folder) != before


FIRST, SECOND = checkpoints.SHARDS
BAD_CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (
        lambda f: (f / SECOND).unlink(),
        f"{SECOND} is missing, one of 2 shards that {checkpoints.INDEX} names",
    ),
    "truncated": (lambda f: os.truncate(f / SECOND, 90), f"{SECOND} is cut off or not safetensors"),
    "flipped header": (
        lambda f: (f / SECOND).write_bytes((f / SECOND).read_bytes().replace(b"[4,4]", b"[4,5]")),
        f"{SECOND} is cut off or not safetensors",
    ),
    "extra": (
        lambda f: (f / "model-00003-of-00003.safetensors").write_bytes((f / FIRST).read_bytes()),
        f"model-00003-of-00003.safetensors is a shard that {checkpoints.INDEX} does not name",
    ),
    "tensor in another shard": (
        lambda f: change_index(f, **{"a.weight": SECOND}),
        f"{FIRST} is a shard that {checkpoints.INDEX} does not name",
    ),
    "tensor that no shard holds": (lambda f: change_index(f, d=SECOND), f"{SECOND} has no tensor d, which"),
    "tensor that the index does not name": (lambda f: change_index(f, c=None), f"{SECOND} holds c, which"),
    "path out of the folder": (
        lambda f: change_index(f, c="../m/" + SECOND),
        f"{checkpoints.INDEX} names '../m/{SECOND}', which is no safetensors file of its folder",
    ),
    "absolute path": (lambda f: change_index(f, c=str(f / SECOND)), "which is no safetensors file of its folder"),
    "pickle in the index": (lambda f: change_index(f, c="x.bin"), "'x.bin', which is no safetensors file"),
    "no index": (lambda f: (f / checkpoints.INDEX).write_text("{}"), f"{checkpoints.INDEX} has no weight_map"),
    "index is no JSON": (lambda f: (f / checkpoints.INDEX).write_text("{"), f"{checkpoints.INDEX}: not JSON"),
    "adapters": (
        lambda f: ((f / "config.json").unlink(), (f / "adapter_config.json").write_text("{}")),
        "it holds adapters (adapter_config.json), not a model",
    ),
    "no configuration": (lambda f: (f / "config.json").unlink(), "no config.json in it"),
    "unknown architecture": (
        lambda f: (f / "config.json").write_text('{"model_type": "llama9"}'),
        "its architecture, model_type 'llama9', is not one that transformers",
    ),
    "remote code": (
        lambda f: (f / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "m.C"}}'),
        "it needs code that comes with the model (auto_map in config.json), and such code is never run",
    ),
}


@pytest.mark.parametrize("what", BAD_CHECKPOINTS)
def test_a_checkpoint_that_is_not_whole_is_one_line(folder: Path, store: Store, what: str) -> None:
    damage, message = BAD_CHECKPOINTS[what]
    damage(folder)
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        weights.locate("pretraining.init", str(folder), store)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"pretraining.init: {folder}")


def test_a_pickle_alone_is_refused_by_name(tmp_path: Path, store: Store) -> None:
    checkpoints.write(tmp_path, {"config.json": b"{}", "pytorch_model.bin": b"\x80\x02"})
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle, which can run code"):
        weights.locate("pretraining.init", str(tmp_path), store)


@pytest.mark.parametrize("source", ["ftp://a/b", "gs://bucket/m", "nowhere"])
def test_a_source_that_is_none_names_those_that_are(store: Store, source: str) -> None:
    with pytest.raises(UserError, match=r"hf://ORG/NAME@REVISION or models:/NAME/VERSION"):
        weights.locate("pretraining.init", source, store)


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"README.md": checkpoints.CARD}, "apache-2.0"),
        ({"README.md": b"---\nlicense: other\nlicense_name: acme\n---\n"}, "acme"),
        ({"README.md": b"---\nlicense: [mit, apache-2.0]\n---\n"}, "mit, apache-2.0"),
        ({"README.md": b"---\nlicense: {\n---\n", "LICENSE.txt": b"MIT"}, "LICENSE.txt"),
        ({"README.md": b"no front matter"}, None),
        ({}, None),
    ],
)
def test_the_licence_is_that_of_the_card_or_a_file_and_none_is_a_warning(
    tmp_path: Path, files: dict[str, bytes], licence: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints.write(tmp_path, files)
    assert weights.licence(tmp_path) == licence
    weights.warn_of_licence("pretraining.init: m", tmp_path)
    assert ("pretraining.init: m: names no licence" in caplog.text) == (licence is None)


@pytest.mark.parametrize(
    ("rows", "tokens", "is_refused"),
    [(4, 4, False), (64, 4, False), (3, 4, True), (4 + 1024, 4, True)],
    ids=["equal", "padded", "fewer", "of another"],
)
def test_rows_are_compared_with_the_tokens_where_the_model_has_no_tokenizer(
    tmp_path: Path, rows: int, tokens: int, is_refused: bool
) -> None:
    file = (
        checkpoints.write(tmp_path / "t", {"tokenizer.json": checkpoints.tokenizer(*"abcd"[:tokens])})
        / "tokenizer.json"
    )
    folder = checkpoints.write(tmp_path / "m", {"config.json": json.dumps({"vocab_size": rows}).encode()})
    with pytest.raises(UserError, match="its vocabulary has") if is_refused else nullcontext():
        compatibility.require_vocabulary(folder, file)


@pytest.mark.parametrize("name", ["max_position_embeddings", "n_positions"])
def test_a_model_for_shorter_sequences_is_refused_whatever_it_calls_them(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {name: 32}}))
    with pytest.raises(UserError, match="it was made for 32 positions"):
        compatibility.require_length(tmp_path, 33)
    compatibility.require_length(tmp_path, 32)


def test_a_model_that_changes_while_a_step_runs_is_refused(folder: Path) -> None:
    before = weights.digest(folder)
    weights.require_digest("pretraining.init: m", folder, before)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match=r"pretraining\.init: m: it has changed since the step began"):
        weights.require_digest("pretraining.init: m", folder, before)
