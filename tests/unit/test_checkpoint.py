"""Checkpoints: whole or not there, and refused by name where something else is meant."""

import json
import re
from pathlib import Path

import pytest
import torch

from modelmill.recipe import Training
from modelmill.store import Store
from modelmill.training.loop.checkpoint import Checkpoints, Snapshot
from modelmill.training.loop.guard import Guard
from modelmill.training.loop.optimization import make_optimizers
from modelmill.training.loop.state import Parts, State, restore, room_for
from modelmill.training.loop.state import snapshot as snapshot_of

CPU = torch.device("cpu")


def snapshot(step: int) -> Snapshot:
    return Snapshot({"model.w": torch.full((3,), float(step))}, {"step": step})


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path, store: Store) -> None:
    checkpoints = Checkpoints(store, "key", tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(snapshot(step))
    checkpoints.wait()
    kept = [key for key in store.list("checkpoints/key/") if not key.endswith("latest.json")]
    assert len(kept) == 2, "only the newest two are kept"
    newest = max(kept, key=lambda key: store.local_path(key).stat().st_mtime_ns)  # type: ignore[union-attr]
    store.put(newest, b"damaged")
    loaded = checkpoints.load()
    assert loaded is not None and loaded.state == {"step": 2}
    store.delete(newest)
    loaded = checkpoints.load()
    assert loaded is not None and loaded.tensors["model.w"].tolist() == [2.0, 2.0, 2.0]


def test_what_is_saved_is_what_was_there_when_it_was_asked_for(tmp_path: Path, store: Store) -> None:
    checkpoints, weights, history = Checkpoints(store, "key", tmp_path), torch.ones(1000), [1]
    checkpoints.save(Snapshot({"model.w": weights}, {"step": 1, "history": history}))
    weights.zero_()
    history.append(2)
    checkpoints.wait()
    loaded = checkpoints.load()
    assert loaded is not None and loaded.tensors["model.w"].tolist() == [1.0] * 1000
    assert loaded.state["history"] == [1]


def test_a_store_that_fails_is_told_by_the_next_save(tmp_path: Path, store: Store) -> None:
    checkpoints = Checkpoints(store, "key", tmp_path)
    (tmp_path / "store").write_text("no folder")
    checkpoints.save(snapshot(1))
    with pytest.raises(Exception, match="cannot be written"):
        checkpoints.save(snapshot(2))


def parts(inputs: int, width: int, optimizer: str = "adamw") -> Parts:
    model = torch.nn.Sequential(torch.nn.Linear(inputs, width))
    settings = Training(steps=1, learning_rate=0.1, optimizer=optimizer)
    found = Parts(model, make_optimizers(model, [], settings), Guard(settings, CPU), None, {})
    model(torch.ones(1, inputs)).sum().backward()
    for one in found.optimizers:
        one.step()
    return found


def test_state_goes_round(tmp_path: Path, store: Store) -> None:
    checkpoints, before, after = Checkpoints(store, "key", tmp_path), parts(2, 3), parts(2, 3)
    checkpoints.save(snapshot_of(State(micro_batch=4, step=7, best_loss=0.5), before))
    checkpoints.wait()
    saved = checkpoints.load(room_for(after))
    assert saved is not None
    assert restore(saved, after) == State(micro_batch=4, step=7, best_loss=0.5)
    for mine, theirs in zip(before.model.parameters(), after.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        first, second = before.optimizers[0].state[mine], after.optimizers[0].state[theirs]
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "modelmill"]


@pytest.mark.parametrize(
    ("inputs", "width", "why"),
    [(2, 4, r"its 0.bias is \(3,\), this model's is \(4,\)"), (5, 3, r"its 0.weight is \(3, 2\).* \(3, 5\)")],
)
def test_a_checkpoint_of_another_model_is_refused_by_name(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture, inputs: int, width: int, why: str
) -> None:
    checkpoints = Checkpoints(store, "key", tmp_path)
    checkpoints.save(snapshot_of(State(micro_batch=1, step=7), parts(2, 3)))
    checkpoints.wait()
    assert checkpoints.load(room_for(parts(inputs, width))) is None
    assert [bool(re.match(f"checkpoint of step 7 refused: {why}", said)) for said in refusals(caplog)] == [True]


def test_a_checkpoint_of_other_data_is_refused_and_the_one_before_it_used(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for step, corpus in ((1, "a" * 64), (2, "b" * 64)):
        checkpoints = Checkpoints(store, "key", tmp_path, {"preprocessing.corpus": corpus})
        checkpoints.save(snapshot(step))
        checkpoints.wait()
    loaded = Checkpoints(store, "key", tmp_path, {"preprocessing.corpus": "a" * 64}).load()
    assert loaded is not None and loaded.state["step"] == 1
    expected = "it is of another preprocessing.corpus (bbbbbbbbbbbb, this training's is aaaaaaaaaaaa)"
    assert refusals(caplog) == [f"checkpoint of step 2 refused: {expected}"]


def test_a_name_that_leads_out_of_the_folder_is_refused(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scratch").mkdir()
    checkpoints = Checkpoints(store, "key", tmp_path / "scratch")
    checkpoints.save(snapshot(1))
    checkpoints.wait()
    [document] = json.loads(store.get("checkpoints/key/latest.json"))
    [sha256] = document["files"].values()
    store.put(
        "checkpoints/key/latest.json", json.dumps([document | {"files": {"../out.safetensors": sha256}}]).encode()
    )
    assert checkpoints.load() is None
    assert refusals(caplog) == ["checkpoint of step 1 refused: '../out.safetensors' is no name of a file of ours"]
    assert not (tmp_path / "out.safetensors").exists()


def test_a_list_of_checkpoints_that_is_no_json_is_named_and_replaced(
    tmp_path: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(store, "key", tmp_path)
    store.put("checkpoints/key/latest.json", b"[{")
    assert checkpoints.load() is None
    assert refusals(caplog) == ["checkpoints/key/latest.json is no JSON: no checkpoint is used"]
    checkpoints.save(snapshot(1))
    assert checkpoints.newest_step() == 1


def test_of_two_that_save_at_once_both_count(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one swaps the list between this one's look at it and its own swap."""
    mine, other = (Checkpoints(store, "key", tmp_path / name) for name in ("mine", "other"))
    for one in (mine, other):
        one.scratch.mkdir()
    mine.save(snapshot(1))
    mine.wait()
    swap, quicker = store.compare_and_swap, [snapshot(2)]

    def late(key: str, data: bytes, tag: str) -> bool:
        if quicker:
            other.save(quicker.pop())
            other.wait()
        return swap(key, data, tag)

    monkeypatch.setattr(store, "compare_and_swap", late)
    mine.save(snapshot(3))
    assert mine.newest_step() == 3
    assert [document["state"]["step"] for document in json.loads(store.get("checkpoints/key/latest.json"))] == [3, 2]
    loaded = other.load()
    assert loaded is not None and loaded.tensors["model.w"].tolist() == [3.0] * 3
