"""`modelmill import`: a base model in store and registry, and what starts from it."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from modelmill.core.errors import CorruptError, UserError
from modelmill.pipelines.models import importing, predict
from modelmill.runtime import tracking, weights
from modelmill.runtime.sources import bucket as buckets
from modelmill.runtime.sources import registered
from modelmill.store import Store, blobs, manifest, open_store
from tests import checkpoints

pytestmark = pytest.mark.usefixtures("nothing_set")
FIRST, SECOND = checkpoints.SHARDS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint in two shards, beside files that are not read."""
    return checkpoints.write(tmp_path / "m", checkpoints.sharded() | {"pytorch_model.bin": b"\x80", "x.py": b""})


def bring(store: Store, source: object, name: str = "base") -> importing.Imported:
    return importing.bring(store, str(source), name, lambda done, whole, text: None)


def locate(store: Store, uri: str = "models:/base/1", key: str = "pretraining.init") -> Path:
    registered.fetch.cache_clear()
    return weights.locate(key, uri, store)


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def test_a_model_is_imported_once_and_training_starts_from_it(store: Store, folder: Path) -> None:
    imported = bring(store, folder)
    assert (imported.version, imported.is_new) == ("1", True)
    assert {e.path: e.bytes for e in imported.manifest.entries} == {
        f"model/{name}": len(data) for name, data in checkpoints.sharded().items()
    }
    assert imported.manifest.info == {
        "digest": weights.digest(folder),
        "licence": "apache-2.0",
        "stage": "import",
        "dtype": "float16",
        "parameters": 24,
        "architecture": "llama",
    }
    located = locate(store)
    assert {file.name: file.read_bytes() for file in located.iterdir()} == checkpoints.sharded()
    assert weights.digest(located) == weights.digest(folder)
    # Nothing was copied for it, and MLflow has no second copy of the weights.
    assert size(located) == 0
    (version,) = tracking.registered(store, "base")
    assert version.tags == {
        "modelmill.key": version.tags["modelmill.key"],
        "modelmill.model": imported.manifest.digest,
        "modelmill.imported": str(folder),
        "modelmill.verified": "true",
        "modelmill.digest": weights.digest(folder),
        "modelmill.licence": "apache-2.0",
    }
    files = tracking.download_version(store, "models:/base/1", folder.with_name("mlflow"))
    assert (files / "README.md").read_bytes() == checkpoints.CARD
    assert (files / importing.MANIFEST).read_bytes() == imported.manifest.to_json()
    again = bring(store, folder)
    assert (again.version, again.is_new, again.manifest) == ("1", False, imported.manifest)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 5}))
    assert bring(store, folder).version == "2"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architectures": ["LlamaModel"]}, "base version 1: an imported LlamaModel, which answers no prompts"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "an imported BertForMaskedLM, which answers no"),
        ({"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}, "LlamaForCausalLM needs 1[0-9] weights"),
    ],
)
def test_a_base_that_cannot_answer_is_refused(store: Store, tmp_path: Path, config: Any, said: str) -> None:
    bring(store, checkpoints.write(tmp_path / "m", checkpoints.sharded(**config)))
    (version,) = tracking.registered(store, "base")
    registered.fetch.cache_clear()
    with pytest.raises(UserError, match=said), predict.opened(store, version) as found:
        found.load()


def test_a_shard_that_was_damaged_in_the_store_is_named(store: Store, folder: Path) -> None:
    made = bring(store, folder).manifest
    assert locate(store, key="preprocessing.tokenizer.from").is_dir()
    blob = store.local_path(blobs.key_of(made.entry(f"model/{SECOND}").sha256))
    assert blob is not None
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptError, match=rf"{SECOND} \(blob [0-9a-f]+\) does not have the bytes it is named after"):
        locate(store)
    # The tokenizer does not need it.
    assert not (locate(store, key="preprocessing.tokenizer.from") / SECOND).exists()
    blob.unlink()
    with pytest.raises(UserError, match=r"pretraining.init: models:/base/1: it is not whole in .*import it again"):
        locate(store)


def test_what_cannot_be_imported_is_one_line(store: Store, folder: Path) -> None:
    with pytest.raises(UserError, match="--as 'Base Model': a model's name is lower case"):
        bring(store, folder, "Base Model")
    with pytest.raises(UserError, match=r"models:/x/1: it is registered already; write pretraining.init: models:/x/1"):
        bring(store, "models:/x/1")
    (folder / SECOND).unlink()
    with pytest.raises(UserError, match=f"import: .*{SECOND} is missing"):
        bring(store, folder)
    assert tracking.registered(store) == []


@pytest.fixture
def source(folder: Path, bucket: str) -> str:
    """The checkpoint in a bucket."""
    uri = f"{bucket}/models/tiny"
    for file in folder.iterdir():
        open_store(uri).upload(file.name, file)
    return uri


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that are downloaded."""
    from modelmill.store.s3 import S3Store

    names: list[str] = []
    download = S3Store.download

    def noted(self: Any, key: str, path: Path) -> None:
        names.append(key)
        download(self, key, path)

    monkeypatch.setattr(S3Store, "download", noted)
    return names


def fetch(store: Store, source: str, key: str = "pretraining.init") -> Path:
    buckets.fetch.cache_clear()
    return weights.locate(key, source, store)


def test_a_model_in_a_bucket_is_fetched_once_shard_by_shard(
    store: Store, source: str, folder: Path, downloads: list[str]
) -> None:
    tokenizer = fetch(store, source, "preprocessing.tokenizer.from")
    assert not [name for name in downloads if name.endswith(".safetensors")]
    downloads.clear()
    located = fetch(store, source)
    assert downloads == [checkpoints.INDEX, FIRST, SECOND] and located == tokenizer
    assert weights.digest(located) == weights.digest(folder)
    downloads.clear()
    # As a killed download leaves it, and as another version of the object does.
    (located / FIRST).unlink()
    open_store(source).put(SECOND, (folder / FIRST).read_bytes())
    with pytest.raises(UserError, match=f"{SECOND} has no tensor b.weight"):
        fetch(store, source)
    assert downloads == [FIRST, SECOND]
    open_store(source).delete(SECOND)
    with pytest.raises(UserError, match=rf"pretraining.init: {source}: {SECOND} is missing, one of 2 shards"):
        fetch(store, source)
    assert not (located / SECOND).exists()
    for nothing, message in {f"{source}/none": "there are no files in it", "s3://x": "names no bucket"}.items():
        with pytest.raises(UserError, match=f"^pretraining.init: {nothing}: {message}"):
            fetch(store, nothing)


def test_an_import_into_a_bucket_is_read_from_it_shard_by_shard(
    source: str, bucket: str, folder: Path, downloads: list[str], server: str
) -> None:
    store, name = open_store(f"{bucket}/team"), f"m-{uuid.uuid4().hex[:12]}"
    imported = bring(store, source, name)
    assert (imported.is_new, bring(store, folder, name).is_new) == (True, False)
    assert imported.manifest.info["source"] == source
    downloads.clear()
    init = imported.to_json()["init"]
    located = locate(store, init)
    assert len(downloads) == len(checkpoints.sharded())
    assert {file.name: file.read_bytes() for file in located.iterdir()} == checkpoints.sharded()
    downloads.clear()
    (located / SECOND).write_bytes(b"cut off")
    assert locate(store, init) == located and downloads == [
        blobs.key_of(imported.manifest.entry(f"model/{SECOND}").sha256)
    ]
    other = open_store(f"{bucket}/other")
    with pytest.raises(UserError, match=r"it is not in s3://.*/other; give the store that it was imported into"):
        registered.fetch.cache_clear()
        weights.locate("pretraining.init", init, other)
    store.delete(blobs.key_of(imported.manifest.entry(f"model/{FIRST}").sha256))
    assert not manifest.is_whole(store, imported.manifest)
