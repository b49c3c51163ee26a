"""Models of a hub, fetched by the real huggingface_hub from a stand-in of the hub's HTTP interface."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelmill.core.errors import UserError
from modelmill.runtime import weights
from modelmill.runtime.sources import hub as client
from modelmill.store import Store
from tests import checkpoints
from tests import hub as hubs
from tests.hub import Hub
from tests.mlflow_server import free_port

MODEL = "acme/tiny"
FIRST, SECOND = checkpoints.SHARDS
# What hubs have beside, and what nobody fetches.
OTHERS = {
    "pytorch_model.bin": b"\x80\x02",
    "modeling.py": b"raise SystemExit",
    ".gitattributes": b"",
    "a.gguf": b"GGUF",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with hubs.running() as running:
        yield running


@pytest.fixture
def hub(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with one model in two commits, and a cache of its own; the newer commit is `main`."""
    address = server.uri
    server.__init__(uri=address)  # type: ignore[misc]
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", address)
    server.commit(MODEL, checkpoints.sharded(rope_theta=1) | OTHERS)
    server.commit(MODEL, checkpoints.sharded() | OTHERS)
    forget()
    return server


def forget() -> None:
    """As another process would begin."""
    client.fetch.cache_clear()
    client._listing.cache_clear()


def locate(store: Store, revision: str = "main", model: str = MODEL, key: str = "pretraining.init") -> Path:
    forget()
    return weights.locate(key, f"hf://{model}@{revision}", store)


def test_a_model_comes_from_the_hub_whole_and_only_what_is_read(hub: Hub, store: Store) -> None:
    folder = locate(store)
    assert sorted(hub.files_sent()) == sorted(checkpoints.sharded())
    assert folder.name == hub.revisions[MODEL, "main"]
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == checkpoints.sharded()
    assert weights.origin_of("pretraining.init", f"hf://{MODEL}@main", store) == {
        "source": f"hf://{MODEL}",
        "revision": folder.name,
        "licence": "apache-2.0",
        "digest": weights.digest(folder),
    }


def test_a_process_works_with_one_commit_though_the_branch_moves(hub: Hub, store: Store) -> None:
    tokenizer = locate(store, key="preprocessing.tokenizer.from")
    assert not [name for name in hub.files_sent() if name.endswith("safetensors")]
    first = hub.revisions[MODEL, "main"]
    hub.commit(MODEL, checkpoints.sharded(rope_theta=2))
    assert weights.locate("pretraining.init", f"hf://{MODEL}@main", store) == tokenizer
    assert tokenizer.name == first
    assert locate(store).name == hub.revisions[MODEL, "main"] != first


def test_equal_content_has_one_digest_whatever_the_commit_is_called(hub: Hub, store: Store) -> None:
    digest = weights.digest(locate(store))
    hub.commit(MODEL, checkpoints.sharded() | {"notes.md": b"another commit, the same model"})
    assert weights.digest(locate(store)) == digest
    hub.commit(MODEL, checkpoints.sharded(rope_theta=2))
    assert weights.digest(locate(store)) != digest


def test_what_the_cache_has_is_not_fetched_again_and_is_enough_offline(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = locate(store)
    hub.asked.clear()
    assert locate(store, folder.name) == folder
    assert hub.files_sent() == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    assert locate(store) == locate(store, folder.name) == folder
    assert hub.asked == []
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE is set, and .* does not have it"):
        locate(store, "v2")


def test_a_gated_model_needs_a_token(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated.add(MODEL)
    with pytest.raises(UserError, match=r"acme/tiny is gated at .*, and there is no HF_TOKEN; accept its conditions"):
        locate(store)
    monkeypatch.setenv("HF_TOKEN", "hf_somebody_else")
    with pytest.raises(UserError, match="the account of HF_TOKEN has not"):
        locate(store)
    monkeypatch.setenv("HF_TOKEN", hubs.TOKEN)
    assert locate(store).is_dir()


def test_the_next_try_fetches_what_the_first_did_not_have(hub: Hub, store: Store) -> None:
    hub.cut[SECOND] = 7
    with pytest.raises(UserError, match=f"{SECOND} came with .* bytes; what came whole is kept"):
        locate(store)
    hub.cut.clear()
    hub.asked.clear()
    locate(store)
    assert hub.files_sent() == [SECOND]


@pytest.mark.parametrize("name", [SECOND, "config.json"])
def test_a_flipped_bit_is_found_and_the_file_fetched_again(hub: Hub, store: Store, name: str) -> None:
    hub.flipped.add(name)
    with pytest.raises(UserError, match=f"{name} came with other bytes than the hub names"):
        locate(store)
    hub.flipped.clear()
    assert (locate(store) / name).read_bytes() == checkpoints.sharded()[name]


def test_a_file_that_was_damaged_in_the_cache_is_found(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = locate(store) / SECOND
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=f"{SECOND} came with other bytes"):
        locate(store)


def without(*names: str) -> dict[str, bytes]:
    return {name: data for name, data in (checkpoints.sharded() | OTHERS).items() if name not in names}


def with_config(**config: object) -> dict[str, bytes]:
    return without("config.json") | {"config.json": json.dumps(config).encode()}


INDEX = {"weight_map": {"a.weight": FIRST, "c": "../" + SECOND}}
BAD_MODELS: dict[str, tuple[dict[str, bytes], str]] = {
    "missing shard": (without(SECOND), f"{SECOND} is missing, one of 2 shards that {checkpoints.INDEX} names"),
    "pickle alone": (without(*checkpoints.SHARDS, checkpoints.INDEX), "pytorch_model.bin is a pickle"),
    "path in the index": (
        without(checkpoints.INDEX) | {checkpoints.INDEX: json.dumps(INDEX).encode()},
        "which is no safetensors file of its folder",
    ),
    "unknown architecture": (with_config(model_type="llama9"), "model_type 'llama9', is not one that transformers"),
    "remote code": (with_config(model_type="m", auto_map={"AutoConfig": "m.C"}), "such code is never run"),
    "no configuration": (without("config.json"), "no config.json in it"),
    "other tensors": (
        without(SECOND) | {SECOND: checkpoints.sharded()[FIRST]},
        f"{SECOND} has no tensor b.weight, which {checkpoints.INDEX} says is in it",
    ),
}


@pytest.mark.parametrize("what", BAD_MODELS)
def test_a_model_that_cannot_be_used_is_one_line(hub: Hub, store: Store, what: str) -> None:
    files, message = BAD_MODELS[what]
    hub.commit(MODEL, files)
    with pytest.raises(UserError) as raised:
        locate(store)
    assert str(raised.value).startswith(f"pretraining.init: hf://{MODEL}@main: ")
    assert message in str(raised.value) and "\n" not in str(raised.value)
    if what != "other tensors":  # everything else is known before a shard is asked for
        assert not [name for name in hub.files_sent() if name.endswith(".safetensors")]


BAD_ANSWERS: dict[str, tuple[Callable[[Hub], object], str, str]] = {
    "no such revision": (lambda hub: None, f"hf://{MODEL}@v9", f"{MODEL} has no revision v9 at"),
    "no such model": (lambda hub: None, "hf://acme/none@main", "has no model acme/none, or it is private or gated"),
    "unauthorized": (lambda hub: setattr(hub, "status", 403), f"hf://{MODEL}", "(403); set HF_TOKEN"),
    "failing": (lambda hub: setattr(hub, "status", 500), f"hf://{MODEL}", "answers 500; try again later"),
    "no hub": (lambda hub: setattr(hub, "status", 200), f"hf://{MODEL}", "does not answer as a hub does"),
    "no name": (lambda hub: None, "hf://tiny", "a model of a hub is hf://ORG/NAME@REVISION"),
    "path": (lambda hub: None, f"hf://{MODEL}@../../x", "a model of a hub is hf://ORG/NAME@REVISION"),
    "empty revision": (lambda hub: None, f"hf://{MODEL}@", "a model of a hub is hf://ORG/NAME@REVISION"),
}


@pytest.mark.parametrize("what", BAD_ANSWERS)
def test_what_the_hub_does_not_have_or_say_is_one_line(hub: Hub, store: Store, what: str) -> None:
    prepare, source, message = BAD_ANSWERS[what]
    prepare(hub)
    with pytest.raises(UserError) as raised:
        weights.locate("pretraining.init", source, store)
    assert str(raised.value).startswith(f"pretraining.init: {source}: ")
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_hub_that_does_not_listen_is_one_line(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://somebody:secret@127.0.0.1:{free_port()}")
    with pytest.raises(
        UserError, match=r"http://127.0.0.1:\d+ does not answer as a hub does .*HF_HUB_OFFLINE=1"
    ) as raised:
        locate(store)
    assert "secret" not in str(raised.value)


def test_a_model_that_names_no_licence_is_a_warning(hub: Hub, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    hub.commit(MODEL, without("README.md"))
    with caplog.at_level(logging.WARNING, "modelmill"):
        weights.warn_of_licence(f"pretraining.init: hf://{MODEL}", locate(store))
    assert f"hf://{MODEL}: names no licence" in caplog.text
