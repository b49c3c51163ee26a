"""`modelmill submit`: what it asks KFP for, what it leaves there, and what it says when that fails."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill import recipe as recipes
from modelmill.components.reporting import step as reporting
from modelmill.core import digest
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import server_limits
from modelmill.recipe import stored
from modelmill.runtime import run_records
from modelmill.store import open_store
from tests import kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer, Request
from tests.recipes import language_recipe
from tests.seaweedfs import SeaweedFS


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)


@pytest.fixture
def submit(call: Callable[..., Done], kfp: KfpServer, bucket: str, tmp_path: Path) -> Callable[..., Done]:
    """Submits one recipe to the server, with a store that can be reached from here."""
    recipe, cluster = cluster_recipe(tmp_path), write_cluster(tmp_path, kfp.url, f"{bucket}/mill")
    return lambda *more: call("submit", recipe, "--cluster", cluster, *more)


def test_two_submits_are_one_version_and_two_runs(kfp: KfpServer, submit: Callable[..., Done]) -> None:
    first, second = (json.loads(submit("--reason", "new data", "--json").out) for _ in range(2))
    assert [one.display_name for one in kfp.pipelines.values()] == ["tiny-table"]
    assert [one.display_name for one in kfp.versions.values()] == [first["version"]] == [second["version"]]
    assert set(kfp.runs) == {first["run_id"], second["run_id"]}
    assert len(kfp.experiments) == 1
    run = kfp.runs[first["run_id"]]
    assert first["link"] == f"https://kfp.example.com/#/runs/details/{run.run_id}"
    assert run.service_account == "modelmill-pipeline"
    assert run.description.startswith("Requested by ") and run.description.endswith(": new data")
    assert run.pipeline_version_reference.pipeline_version_id in kfp.versions
    [file] = kfp.files.values()
    assert b"enableCache: true" not in file, "the step memo decides what is reused, not KFP"
    assert b"registry.example.com/mill/fine-tuning" in file


def test_overrides_are_the_same_version_unless_they_change_the_dag(
    kfp: KfpServer, submit: Callable[..., Done], bucket: str
) -> None:
    for override in ("seed=1", "seed=2", "registration.model=another", "fine_tuning.learning_rate=0.5"):
        assert submit("--set", override).code == 0
    assert (len(kfp.pipelines), len(kfp.versions)) == (1, 1)
    keys = [run.runtime_config.parameters["recipe"] for run in kfp.runs.values()]
    assert len(set(keys)) == 4 and sorted(keys) == list(open_store(f"{bucket}/mill").list("recipes/"))
    assert submit("--set", "data.groups=2").code == submit("--set", "resources.fine_tuning.memory=4Gi").code == 0
    assert (len(kfp.pipelines), len(kfp.versions)) == (1, 3)


def test_what_is_uploaded_has_no_text_of_the_recipe(kfp: KfpServer, submit: Callable[..., Done], bucket: str) -> None:
    run_id = json.loads(submit("--json").out)["run_id"]
    spec = next(yaml.safe_load_all(next(iter(kfp.files.values()))))
    assert spec["root"]["inputDefinitions"]["parameters"]["recipe"] == {"parameterType": "STRING"}
    store = open_store(f"{bucket}/mill")
    key = kfp.runs[run_id].runtime_config.parameters["recipe"]
    resolved = recipes.load(Path("tiny-table.yaml"))
    assert key == stored.key_of(resolved)
    assert recipes.from_json(stored.read(store, key)) == resolved
    record = run_records.read_run(store, run_id)
    assert record is not None and key == f"recipes/{digest.of_json(record.recipe)}.json"


def test_a_store_that_is_not_seen_from_here_is_refused_before_kfp_is_asked(
    kfp: KfpServer, call: Callable[..., Done], tmp_path: Path
) -> None:
    done = call("submit", cluster_recipe(tmp_path), "--cluster", write_cluster(tmp_path, kfp.url))
    assert (done.code, done.err.count("\n"), kfp.requests) == (2, 1, [])
    assert done.err.startswith(
        "modelmill: store s3://nowhere/mill: a run's recipe is written there first, and cannot be from here: "
        "http://seaweedfs.invalid:8333 is not reachable from here ("
    )
    assert done.err.endswith("; forward a port to it (kubectl port-forward) and set AWS_ENDPOINT_URL\n")


def test_only_the_links_are_printed_and_nothing_is_written_at_home(
    kfp: KfpServer, submit: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    done = submit()
    run_id = next(iter(kfp.runs))
    assert done.out.splitlines() == [
        f"run {run_id}, version {next(iter(kfp.versions.values())).display_name}",
        f"https://kfp.example.com/#/runs/details/{run_id}",
        f"follow: modelmill status {run_id} --cluster {tmp_path}/cluster.yaml",
    ]
    assert done.err == ""
    assert not (tmp_path / "home").exists()


def test_who_is_slower_uses_what_the_faster_has_made(kfp: KfpServer, submit: Callable[..., Done]) -> None:
    together = threading.Barrier(2, timeout=20)
    results = []

    def meet(request: Request) -> None:
        """Both have looked and found nothing before either makes it."""
        made = {"/apis/v2beta1/pipelines", "/apis/v2beta1/pipelines/upload_version", "/apis/v2beta1/experiments"}
        if request.method == "POST" and request.path in made and not seen.get((request.path, threading.get_ident())):
            seen[request.path, threading.get_ident()] = True
            together.wait()

    seen: dict[tuple[str, int], bool] = {}
    kfp.before = meet
    from modelmill.pipelines.cluster import settings, submitting

    recipe, cluster = recipes.load(Path("tiny-table.yaml"), None), settings.load(Path("cluster.yaml"))
    threads = [
        threading.Thread(target=lambda: results.append(submitting.submit(recipe, cluster, "ann", ""))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 2
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 2)
    assert len(kfp.asked("POST", "/pipelines")) == 2, "the conflict has happened"


@pytest.mark.parametrize("path", ["healthz", "pipelines", "upload_version", "experiments", "runs"])
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done, but the answer is lost"])
def test_a_server_that_fails_for_a_moment_gives_one_run(
    kfp: KfpServer, submit: Callable[..., Done], path: str, after: bool
) -> None:
    kfp.fail("GET" if path == "healthz" else "POST", path, 503, after=after)
    done = submit()
    assert done.code == 0, done.err
    assert kfp.failures == []
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 1)


@pytest.mark.parametrize("path", ["pipelines", "upload_version", "experiments", "runs"])
def test_an_answer_to_the_last_try_that_is_lost_is_looked_up_too(
    kfp: KfpServer, submit: Callable[..., Done], path: str
) -> None:
    kfp.fail("POST", path, 500, times=clients.TRIES - 1)
    kfp.fail("POST", path, 500, after=True)
    done = submit()
    assert done.code == 0, done.err
    assert kfp.failures == []
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 1)


def test_a_long_reason_starts_one_run_and_is_whole_in_our_record(
    kfp: KfpServer, call: Callable[..., Done], bucket: str, tmp_path: Path
) -> None:
    cluster, reason = write_cluster(tmp_path, kfp.url, f"{bucket}/mill"), "drift " * 62
    done = call("submit", cluster_recipe(tmp_path), "--cluster", cluster, "--reason", reason, "--json")
    assert done.code == 0, done.err
    [run] = kfp.runs.values()
    assert [one.run_id for one in kfp.workflows] == [run.run_id]
    assert len(run.description) == 255 and run.description.endswith("...")
    record = run_records.read_run(open_store(f"{bucket}/mill"), run.run_id)
    assert record is not None and record.reason == reason


def test_a_run_that_kfp_has_started_and_not_stored_is_not_started_again(
    kfp: KfpServer, submit: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_limits, "DESCRIPTION_CHARACTERS", 1000)
    done = submit("--reason", "x" * 370)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "has started a run that it could not store" in done.err
    assert "kubectl -n mill get workflows shows it" in done.err
    assert not kfp.runs
    assert len(kfp.workflows) == 1, "no list has it, so nothing but not trying again prevents another"


@pytest.mark.parametrize(
    ("version", "sent"), [("2.17.0", {"mlflow": {"disabled": True}}), ("2.16.1", None), ("unknown", None)]
)
def test_kfps_mlflow_plugin_is_off_where_there_may_be_one(
    kfp: KfpServer, submit: Callable[..., Done], version: str, sent: dict[str, Any] | None
) -> None:
    kfp.tag_name = version
    assert submit().code == 0
    [run] = kfp.runs.values()
    assert run.plugins_input == sent


def test_a_server_that_goes_on_failing_is_one_line(kfp: KfpServer, submit: Callable[..., Done]) -> None:
    kfp.fail("POST", "runs", 500, times=99)
    done = submit()
    assert done.code == 1
    assert done.err == (
        f"modelmill: kfp.host {kfp.url}: answered 500: asked to fail with 500; the same command again goes on\n"
    )
    assert not kfp.runs


def test_an_expired_token_is_one_line_without_the_token(
    kfp: KfpServer, call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kfp.token = "fresh"
    asked = ("status", "--cluster", write_cluster(tmp_path, kfp.url))
    assert "it wants a token (401); set MODELMILL_KFP_TOKEN" in call(*asked).err
    monkeypatch.setenv("MODELMILL_KFP_TOKEN", "stale-token")
    done = call(*asked)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "the token has expired or is not valid (401)" in done.err
    assert "stale-token" not in done.out + done.err
    monkeypatch.setenv("MODELMILL_KFP_TOKEN", "fresh")
    assert call(*asked).code == 0


def test_the_token_may_be_in_a_file(kfp: KfpServer, call: Callable[..., Done], tmp_path: Path) -> None:
    kfp.token = "fresh"
    (tmp_path / "token").write_text("fresh\n")
    cluster = write_cluster(tmp_path, kfp.url, token_file=str(tmp_path / "token"))
    assert call("status", "--cluster", cluster).code == 0
    (tmp_path / "token").unlink()
    assert f"kfp.token_file {tmp_path}/token: cannot be read" in call("status", "--cluster", cluster).err


def test_what_is_not_allowed_says_where(kfp: KfpServer, submit: Callable[..., Done]) -> None:
    kfp.fail("POST", "runs", 403)
    done = submit()
    assert done.code == 2
    assert "not allowed in namespace mill (403" in done.err


@pytest.mark.parametrize(
    ("tag", "is_supported"),
    [("2.5.0", True), ("2.15.1", True), ("v2.17.0", True), ("unknown", True), ("2.4.1", False), ("1.8.5", False)],
)
def test_the_servers_version_is_looked_at_first(
    kfp: KfpServer, call: Callable[..., Done], tmp_path: Path, tag: str, is_supported: bool
) -> None:
    kfp.tag_name = tag
    done = call("status", "--cluster", write_cluster(tmp_path, kfp.url))
    assert done.code == (0 if is_supported else 2)
    if not is_supported:
        assert f"is KFP {tag}; Modelmill works with 2.5 or later of 2.x" in done.err
        assert [one.path for one in kfp.requests] == ["/apis/v2beta1/healthz"]


def test_what_is_no_kfp_and_what_does_not_answer(kfp: KfpServer, call: Callable[..., Done], tmp_path: Path) -> None:
    elsewhere = call("status", "--cluster", write_cluster(tmp_path, f"{kfp.url}/ui"))
    assert elsewhere.code == 2
    assert "something answers, but not as KFP's v2beta1 API" in elsewhere.err
    away = call("status", "--cluster", write_cluster(tmp_path, "http://127.0.0.1:1"))
    assert (away.code, away.err.count("\n")) == (2, 1)
    assert "kfp.host http://127.0.0.1:1: does not answer (Failed to establish a new connection: " in away.err
    assert "Connection refused" in away.err
    assert "object at 0x" not in away.err


def test_a_mistake_in_the_recipe_is_found_before_kfp_is_asked(kfp: KfpServer, submit: Callable[..., Done]) -> None:
    done = submit("--set", "data.path=./here")
    assert done.code == 2
    assert "is on this machine" in done.err
    assert kfp.requests == []


def test_no_secret_is_sent_or_printed(
    kfp: KfpServer,
    submit: Callable[..., Done],
    seaweedfs: SeaweedFS,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    planted = {
        name: f"planted-{number}-secret"
        for number, name in enumerate(("MLFLOW_TRACKING_PASSWORD", "MODELMILL_WEBHOOK_SECRET"))
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    kfp.token = "planted-token-secret"
    monkeypatch.setenv("MODELMILL_KFP_TOKEN", kfp.token)
    said = [submit("--reason", "new data"), submit("--json")]
    recipe = tmp_path / "tiny-table.yaml"
    assert said[0].code == 0
    bodies = b"".join(one.body + str((one.path, one.query)).encode() for one in kfp.requests)
    headers = [value for one in kfp.requests for key, value in one.headers.items() if key != "authorization"]
    everything = bodies + str(headers).encode() + str(said).encode() + recipe.read_bytes()
    assert b"tiny-table" in everything
    for value in (*planted.values(), kfp.token, seaweedfs.access_key, seaweedfs.secret_key):
        assert value.encode() not in everything


def test_the_runs_record_is_in_the_store_where_it_can_be_reached(
    kfp: KfpServer, call: Callable[..., Done], seaweedfs: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    store = f"{bucket}/mill"
    cluster = write_cluster(tmp_path, kfp.url, store)
    done = call("submit", cluster_recipe(tmp_path), "--cluster", cluster, "--reason", "drift", "--json")
    submitted = json.loads(done.out)
    assert submitted["note"] == done.err == ""
    record = run_records.read_run(open_store(store), submitted["run_id"])
    assert record is not None
    assert record.recipe["name"] == "tiny-table"
    assert record.reason == "drift"
    assert record.requested_by
    assert record.resume == f"modelmill resume {submitted['run_id']} --cluster {cluster}"
    assert seaweedfs.secret_key not in str(done) + record.model_dump_json()


def test_the_runs_record_says_what_training_is_expected_to_cost(
    kfp: KfpServer, call: Callable[..., Done], bucket: str, tmp_path: Path
) -> None:
    store = f"{bucket}/mill"
    cluster = ("--cluster", write_cluster(tmp_path, kfp.url, store))
    recipe = language_recipe(tmp_path, tmp_path / "data", data__path="s3://data/texts")
    first = json.loads(call("submit", recipe, *cluster, "--json").out)["run_id"]
    record = run_records.read_run(open_store(store), first)
    assert record is not None and set(record.estimates) == {"pretraining", "fine_tuning"}
    assert record.estimates["pretraining"].amount == 20 * 4 * 64
    assert (record.estimates["pretraining"].model_flops or 0) > 0
    kfp.end_run(first, "FAILED")
    again = json.loads(call("resume", first, *cluster, "--json").out)["run_id"]
    resumed = run_records.read_run(open_store(store), again)
    assert resumed is not None and resumed.estimates == record.estimates


def test_the_report_says_who_asked_and_why(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    record = run_records.RunRecord(
        run_id="r1", recipe={}, store=store.uri, started=0.0, resume="", requested_by="ann", reason="<new> data"
    )
    run_records.write_run(store, record)
    key = stored.write_json(store, "{}")
    reporting.run(recipe=key, store=store.uri, run_id="r1", report=str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "ann: &lt;new&gt; data" in page
    run_records.write_run(store, record.model_copy(update={"requested_by": "", "reason": ""}))
    reporting.run(recipe=key, store=store.uri, run_id="r1", report=str(tmp_path / "page.html"))
    assert "Requested by" not in (tmp_path / "page.html").read_text()
