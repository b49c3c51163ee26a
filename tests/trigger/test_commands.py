"""`modelmill trigger` and `modelmill trigger-server` as processes, with a real object store and KFP's API."""

import contextlib
import json
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from modelmill.runtime import run_records as records
from modelmill.store import open_store
from tests import cli, kfp_cluster
from tests.kfp_cluster import Done, cluster_recipe, write_cluster
from tests.kfp_server import KfpServer, serving_kfp
from tests.recipes import change, write_table
from tests.seaweedfs import SeaweedFS
from tests.server_process import serving
from tests.trigger.replicas import SECRET, Client

TOKEN = "kfp-token-that-nobody-may-see"


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    with serving_kfp(token=TOKEN) as server:
        yield server


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    # What a command sets in the environment ends with the test.
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    return kfp_cluster.caller(monkeypatch, capsys)


def place(folder: Path, kfp: KfpServer, s3_uri: str) -> tuple[Path, Path]:
    """A recipe with its data in the bucket, and the cluster's file."""
    table = write_table(folder / "data") / "table.csv"
    bucket = s3_uri.removesuffix("/mill")
    open_store(bucket).put("table/table.csv", table.read_bytes())
    (folder / "recipes").mkdir()
    recipe = change(cluster_recipe(folder / "recipes"), data__path=f"{bucket}/table")
    return recipe, write_cluster(folder, kfp.url, s3_uri)


@contextlib.contextmanager
def server(folder: Path, cluster: Path, files: int = 0, **env: str) -> Iterator[Client]:
    """`modelmill trigger-server` in a process of its own; its log is `folder/server/output`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}")
    (folder / "server").mkdir()
    secret = folder / "secret"
    secret.write_bytes(SECRET + b"\n")
    command = [sys.executable, "-m", "modelmill.pipelines.cli", "trigger-server", "--recipes", str(folder / "recipes")]
    command += ["--cluster", str(cluster), "--port", str(port), "--poll", "0"]
    environment = {"PYTHONPATH": str(cli.ROOT), "MODELMILL_TRIGGER_SECRET_FILE": str(secret), **env}

    def answers() -> bool:
        with contextlib.suppress(OSError):
            return client.get("/healthz").status == 200
        return False

    if files:
        command = ["prlimit", f"--nofile={files}", *command]
    with serving(command, folder / "server", environment, answers, 60):
        yield client


def test_600_heads_that_never_end_keep_nobody_from_an_answer(
    s3_uri: str, seaweedfs: SeaweedFS, kfp: KfpServer, tmp_path: Path
) -> None:
    _, cluster = place(tmp_path, kfp, s3_uri)
    env = {**seaweedfs.env, "MODELMILL_KFP_TOKEN": TOKEN}
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(server(tmp_path, cluster, files=256, **env))
        address = urlsplit(client.url)
        for number in range(600):
            half = stack.enter_context(socket.create_connection((address.hostname or "", address.port or 0)))
            half.sendall(b"GET /healthz HTTP/1.1\r\nX-Half: ")
            if number % 100 == 99:
                assert client.get("/healthz").status == 200
        assert client.get("/healthz").status == 200
    assert (tmp_path / "server" / "output").stat().st_size < 20_000


def test_200_duplicates_give_one_run_on_the_cluster_and_the_command_line_shares_it(
    s3_uri: str, seaweedfs: SeaweedFS, kfp: KfpServer, tmp_path: Path
) -> None:
    recipe, cluster = place(tmp_path, kfp, s3_uri)
    env = {**seaweedfs.env, "MODELMILL_KFP_TOKEN": TOKEN}
    with server(tmp_path, cluster, **env) as client, ThreadPoolExecutor(200) as pool:
        asked = [pool.submit(client.trigger, "tiny-table", by=f"asker {n}") for n in range(200)]
        answers = [answer.result() for answer in asked]
        assert client.trigger("tiny-table", secret=b"x" * 20).status == 401
    assert sorted(answer.status for answer in answers) == [200] * 199 + [202], answers[0].body
    [run] = kfp.runs.values()
    record = records.read_run(open_store(s3_uri), run.run_id)
    assert record is not None
    assert record.requested_by.startswith("asker ")
    assert record.reason == "manual: new rows"
    assert run.description == f"Requested by {record.requested_by}: manual: new rows"

    def trigger(*more: str) -> dict[str, str]:
        done = cli.modelmill("trigger", recipe, "--reason", "again", "--cluster", cluster, "--json", *more, **env)
        assert done.returncode in (0, 2), done.stderr
        return json.loads(done.stdout)

    again = trigger()
    assert (again["result"], again["run_id"]) == ("deduplicated", run.run_id)
    kfp.end_run(run.run_id, "CANCELED")
    assert "cooling down" in trigger()["error"]["message"]  # type: ignore[index]
    assert trigger("--force")["result"] == "started"
    assert len(kfp.runs) == 2
    log = (tmp_path / "server" / "output").read_text()
    assert f"started run {run.run_id}" in log
    assert "trigger: 401 to 127.0.0.1: X-Modelmill-Signature is missing or wrong" in log
    store = open_store(s3_uri)
    written = [store.get(key) for key in store.list("triggers/") if not key.startswith("triggers/replays/")]
    assert len(written) == 2
    for secret in (SECRET.decode(), TOKEN, seaweedfs.secret_key):
        assert secret not in log
        assert all(secret.encode() not in document for document in written)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "set MODELMILL_TRIGGER_SECRET or MODELMILL_TRIGGER_SECRET_FILE"),
        ({"MODELMILL_TRIGGER_SECRET": "short"}, "MODELMILL_TRIGGER_SECRET: the secret is shorter than 16 bytes"),
        ({"MODELMILL_TRIGGER_SECRET_FILE": "/nowhere"}, "MODELMILL_TRIGGER_SECRET_FILE: /nowhere cannot be read"),
        ({"MODELMILL_TRIGGER_SECRET": "s" * 32}, "no recipes (*.yaml) in it"),
    ],
)
def test_a_server_that_lacks_something_refuses_to_start_in_one_line(
    tmp_path: Path, call: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, env: dict[str, str], said: str
) -> None:
    for name in ("MODELMILL_TRIGGER_SECRET", "MODELMILL_TRIGGER_SECRET_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    done = call("trigger-server", "--recipes", tmp_path)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_trigger_that_cannot_reach_the_store_is_one_line(tmp_path: Path, call: Callable[..., Done]) -> None:
    cluster = write_cluster(tmp_path, "http://127.0.0.1:1")
    done = call("trigger", cluster_recipe(tmp_path), "--reason", "new rows", "--cluster", cluster)
    assert done.code == 2
    assert "is not reachable from here" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("command", ["trigger", "trigger-server"])
def test_help_has_an_example_and_json(call: Callable[..., Done], command: str) -> None:
    said = call(command, "--help").out
    assert f"Example: modelmill {command} " in said
    assert "--json" in said
