"""What `modelmill gc` deletes, what it keeps, and that neither a kill nor a writer beside it loses anything."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from modelmill.champion import champion_state
from modelmill.core import digest
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import memo, run_records
from modelmill.runtime.run_records import StepRecord
from modelmill.store import Store, blobs, manifest, open_store, retention
from modelmill.store.manifest import Manifest
from tests import cli
from tests.mlflow_server import MlflowServer, free_port
from tests.pipeline.conftest import Finished
from tests.seaweedfs import SeaweedFS

DAY = 24 * 3600
# Another model, and one that misses its gate: it is trained, and not registered.
MISSED = ("--set", "fine_tuning.learning_rate=0.5", "--set", "evaluation.gate.accuracy.min=1.1")


def age(store: Path, days: float, prefix: str = "") -> None:
    """Make every object that begins with the prefix as old as that."""
    then = time.time() - days * DAY
    for key in open_store(f"file://{store}").list(prefix):
        os.utime(store / "objects" / key, times=(then, then))


def keys(store: Path) -> set[str]:
    return set(open_store(f"file://{store}").list(""))


def collect(store: Path, *arguments: str, **env: str) -> dict[str, Any]:
    done = cli.modelmill("gc", "--store", f"file://{store}", "--json", *arguments, **env)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def made_by(summary: dict[str, Any]) -> set[str]:
    """The keys of the manifests that a run's steps made."""
    return {blobs.key_of(step["output_digest"]) for step in summary["steps"] if step["output_digest"]}


def assert_whole(store: Store, sha256: str) -> None:
    """The manifest is there, with every file of it, and so is all that it was made from."""
    made = manifest.load(store, sha256)
    assert manifest.is_whole(store, made)
    for name, source in made.made_from.items():
        if name != "suite" and not name.startswith("source."):
            assert_whole(store, source)


def put_orphans(store: Path, count: int, days: float = 60) -> set[str]:
    """Old blobs that nobody names; returns their keys."""
    made = set()
    for number in range(count):
        data = f"orphan {number}".encode()
        key = blobs.key_of(digest.of_bytes(data))
        file = store / "objects" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        os.utime(file, times=(time.time() - days * DAY,) * 2)
        made.add(key)
    return made


def test_what_a_registered_version_was_made_from_stays_and_the_rest_goes(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    missed = cli.run_json(table_run.recipe, store, *MISSED)
    assert missed["returncode"] == 3
    orphans = put_orphans(store, 3)
    age(store, 60)
    before = keys(store)
    dry = collect(store, "--dry")
    assert keys(store) == before
    assert orphans <= set(dry["keys"])
    started_with = {key for key in before if key.startswith("recipes/")}
    assert len(started_with) == 2, "of both runs"
    done = collect(store)
    assert started_with <= keys(store), "a schedule or a run that is resumed may name any of them"
    assert (done["keys"], done["bytes"]) == (dry["keys"], dry["bytes"])
    assert keys(store) == before - set(done["keys"])
    gone = made_by(missed) & set(done["keys"])
    assert gone == made_by(missed) - made_by(table_run.summary), "the model that was not registered, and what it led to"
    assert not made_by(table_run.summary) & set(done["keys"])
    opened = open_store(f"file://{store}")
    version = cli.registry(store).get_model_version("tiny-table", "1")
    for name in ("model", "dataset", "validation", "evaluation"):
        assert_whole(opened, version.tags[f"modelmill.{name}"])
    assert collect(store)["objects"] == 0
    # What is there is found, what was deleted is made again.
    assert cli.statuses(cli.run_json(table_run.recipe, store)) == dict.fromkeys(STEPS, "reused")
    again = cli.run_json(table_run.recipe, store, *MISSED)
    assert again["returncode"] == 3
    assert made_by(again) == made_by(missed)


def test_a_run_counts_for_as_many_days_as_asked(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    missed = cli.run_json(table_run.recipe, store, *MISSED)
    age(store, 10)
    assert collect(store, "--dry")["objects"] == 0
    short = collect(store, "--dry", "--keep-days", "5")
    assert made_by(missed) - made_by(table_run.summary) <= set(short["keys"])
    # Another run has used it since.
    record = run_records.read_step(open_store(f"file://{store}"), missed["run_id"], "fine_tuning")
    assert record is not None
    run_records.write_step(open_store(f"file://{store}"), missed["run_id"], record)
    assert not made_by(missed) & set(collect(store, "--dry", "--keep-days", "5")["keys"])


def test_nothing_younger_than_a_day_is_deleted(tmp_path: Path) -> None:
    store = tmp_path / "store"
    opened = open_store(f"file://{store}")
    young = blobs.key_of(blobs.put_bytes(opened, b"a running step writes blobs before its manifest"))
    old = put_orphans(store, 1)
    assert set(collect(store, "--keep-days", "0")["keys"]) == old
    assert keys(store) == {young}


def test_the_log_of_decisions_stays_with_the_champion_and_without_who_was_refused(tmp_path: Path) -> None:
    store = tmp_path / "store"
    opened = open_store(f"file://{store}")

    def made(kind: str, of: str) -> str:
        entries = [manifest.add_bytes(opened, f"{kind} of {of}".encode(), "a.json")]
        return manifest.save(opened, Manifest(kind=kind, entries=entries))

    champion = champion_state.Candidate(version="1", model=made("model", "one"), evaluation=made("evaluation", "one"))
    crowned = champion_state.decision("promoted", champion, "the first", None)
    champion_state.change(opened, "m", lambda _: (champion_state.Standing(champion=champion), crowned))
    refused = made("model", "another")
    for number in range(2):
        champion_state.refuse(opened, "m", refused, made("evaluation", f"another, {number}"), "worse", {})
    age(store, 400)
    assert collect(store)["objects"] == 6, "a manifest and a file each of one model and two evaluations"
    assert [entry.what for _, entry in champion_state.history(opened, "m")] == ["refused", "refused", "promoted"]
    assert_whole(opened, champion.model)
    assert_whole(opened, champion.evaluation)


def test_checkpoints_go_when_their_training_was_given_up(tmp_path: Path) -> None:
    store = tmp_path / "store"
    opened = open_store(f"file://{store}")
    old, resumed, young = (digest.of_bytes(name) for name in (b"old", b"resumed", b"young"))
    for key in (old, resumed, young):
        opened.put(f"checkpoints/{key}/latest.json", b"[]")
    age(store, 60)
    opened.put(f"checkpoints/{young}/latest.json", b"[]")
    run_records.write_step(opened, "a-run", StepRecord(name="pretraining", status="running", key=resumed))
    assert collect(store)["keys"] == [f"checkpoints/{old}/latest.json"]


def unregistered(table_run: Finished, folder: Path) -> tuple[Path, dict[str, Any]]:
    """An old store without a registry: nothing in it is in use."""
    store = table_run.copy(folder)
    for name in ("mlflow.db", "mlartifacts"):
        (store / name).rename(folder / name)
    opened = open_store(f"file://{store}")
    for prefix in ("references/", "registry/", "memo/registration/"):
        for key in list(opened.list(prefix)):
            opened.delete(key)
    age(store, 60)
    return store, table_run.summary


def test_what_a_step_that_begins_could_find_stays(table_run: Finished, tmp_path: Path) -> None:
    store, summary = unregistered(table_run, tmp_path)
    opened = open_store(f"file://{store}")
    run_records.write_step(opened, "new-run", StepRecord(name="preprocessing", status="running", started=time.time()))
    done = collect(store)
    digests = {step["name"]: step["output_digest"] for step in summary["steps"]}
    assert_whole(opened, digests["preprocessing"])
    assert blobs.key_of(digests["fine_tuning"]) in done["keys"]
    assert [key for key in keys(store) if key.startswith("memo/preprocessing/") and "/last/" not in key]
    assert [key for key in keys(store) if key.startswith("encoded/")], "it finds encoded shards, too"
    assert not [key for key in keys(store) if key.startswith("memo/fine_tuning/") and "/last/" not in key]


def test_another_registry_than_the_one_it_was_registered_in_costs_nothing(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    age(store, 60)
    elsewhere = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"}
    assert not made_by(table_run.summary) & set(collect(store, **elsewhere)["keys"])
    assert cli.statuses(cli.run_json(table_run.recipe, store)) == dict.fromkeys(STEPS, "reused")


def test_without_an_answer_from_the_registry_nothing_is_deleted(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    put_orphans(store, 1)
    age(store, 60)
    before = keys(store)
    silent = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    done = cli.modelmill("gc", "--store", f"file://{store}", **silent)
    assert done.returncode == 1
    assert "does not answer" in done.stderr and "Traceback" not in done.stderr
    assert keys(store) == before
    nowhere = cli.modelmill("gc", "--store", "s3://models/team", AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y")
    assert nowhere.returncode == 2
    assert "set MLFLOW_TRACKING_URI" in nowhere.stderr and len(nowhere.stderr.splitlines()) == 1


def test_a_damaged_manifest_stops_it_by_name(table_run: Finished, tmp_path: Path) -> None:
    store = table_run.copy(tmp_path)
    orphans = put_orphans(store, 1)
    age(store, 60)
    sha256 = next(step["output_digest"] for step in table_run.summary["steps"] if step["name"] == "preprocessing")
    file = store / "objects" / blobs.key_of(sha256)
    file.write_bytes(file.read_bytes().replace(b'"kind"', b'"kynd"'))
    done = cli.modelmill("gc", "--store", f"file://{store}")
    assert done.returncode == 1
    assert sha256 in done.stderr and "nothing is deleted" in done.stderr and "Traceback" not in done.stderr
    assert orphans <= keys(store)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_killed_in_the_midst_of_it_the_store_is_whole_and_the_next_one_ends_it(
    table_run: Finished, tmp_path: Path, share: float
) -> None:
    store, _ = unregistered(table_run, tmp_path)
    orphans = put_orphans(store, 4000)
    opened = open_store(f"file://{store}")
    # They go in this order, and one file is looked at faster than four thousand.
    milestone = store / "objects" / sorted(orphans)[int(len(orphans) * (1 - share))]
    with cli.started("gc", "--store", f"file://{store}") as process:
        assert cli.wait_until(lambda: process.poll() is not None or not milestone.exists(), 60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, "it was done before it could be killed; take more orphans"
    for key in keys(store):
        if key.startswith("memo/") and "/last/" not in key:
            finished = memo.Finished.model_validate_json(opened.get(key))
            for sha256 in finished.outputs.values():
                assert manifest.is_whole(opened, manifest.load(opened, sha256))
    assert keys(store) & orphans
    collect(store)
    assert not keys(store) & orphans
    assert retention.KEY not in keys(store)
    assert collect(store)["objects"] == 0
    # As after any gc, a run makes what is gone.
    assert cli.run_json(table_run.recipe, store)["returncode"] == 0


WRITER = """
import sys
from modelmill.core import digest
from modelmill.store import manifest
from modelmill.store.manifest import Manifest
from modelmill.store import open_store

store = open_store(sys.argv[1])
for number in range(int(sys.argv[2])):
    entries = [manifest.add_bytes(store, f"orphan {10 * number + n}".encode(), str(n)) for n in range(10)]
    made = manifest.save(store, Manifest(kind="fitted", entries=entries))
    store.put(f"fitted/recipe/{number}.json", digest.canonical_json({"manifest": made}))
print("done")
"""


def test_a_writer_beside_it_that_uses_old_blobs_again_loses_none(tmp_path: Path) -> None:
    store = tmp_path / "store"
    manifests = 300
    put_orphans(store, 10 * manifests + 500)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, f"file://{store}", str(manifests)],
        stdout=subprocess.PIPE,
        env=cli.environment(),
        text=True,
    )
    assert cli.wait_until(lambda: (store / "objects" / "fitted").is_dir())
    deleted = collect(store)["objects"]
    assert writer.communicate(timeout=120)[0] == "done\n"
    opened = open_store(f"file://{store}")
    for key in opened.list("fitted/"):
        assert_whole(opened, json.loads(opened.get(key))["manifest"])
    assert len(list(opened.list("fitted/"))) == manifests
    assert deleted > 0, "they met"


def test_a_run_beside_it_finds_what_it_found_or_makes_it(table_run: Finished, tmp_path: Path) -> None:
    store, _ = unregistered(table_run, tmp_path)
    put_orphans(store, 3000)
    with cli.started("gc", "--store", f"file://{store}") as collecting:
        done = cli.run_json(table_run.recipe, store)
        _, errors = collecting.communicate(timeout=60)
    assert (collecting.returncode, errors) == (0, "")
    assert done["returncode"] == 0, done["stderr"]
    opened = open_store(f"file://{store}")
    for step in done["steps"]:
        assert_whole(opened, step["output_digest"])


def test_a_store_on_s3(seaweedfs: SeaweedFS, mlflow_server: MlflowServer) -> None:
    """Objects there are young, so all that can be seen is that nothing of them goes."""
    uri = seaweedfs.create_bucket(f"b-{uuid.uuid4().hex}")
    environment = {**seaweedfs.env, "MLFLOW_TRACKING_URI": mlflow_server.uri}
    script = "import sys; from modelmill.store import blobs, open_store as o; blobs.put_bytes(o(sys.argv[1]), b'x')"
    subprocess.run([sys.executable, "-c", script, uri], env=cli.environment(**environment), check=True)
    done = cli.modelmill("gc", "--store", uri, "--keep-days", "0", "--json", **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objects"] == 0


def test_it_says_what_it_would_do_and_what_it_did(tmp_path: Path) -> None:
    store = tmp_path / "store"
    (orphan,) = put_orphans(store, 1)
    dry = cli.modelmill("gc", "--dry", "--store", f"file://{store}")
    assert dry.stdout.splitlines() == [f"{orphan}  8 bytes", "1 object, 8 bytes would be deleted"]
    done = cli.modelmill("gc", "--store", f"file://{store}")
    assert done.stdout.splitlines() == ["1 object, 8 bytes deleted"]
    empty = cli.modelmill("gc", "--store", f"file://{tmp_path}/empty")
    assert (empty.returncode, empty.stdout) == (0, "0 objects, 0 bytes deleted\n")
    wrong = cli.modelmill("gc", "--keep-days", "-1", "--store", f"file://{store}")
    assert wrong.returncode == 2 and "--keep-days" in wrong.stderr
