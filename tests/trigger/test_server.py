"""The trigger service as a client and an object store see it."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from modelmill.pipelines.trigger import claims, signing
from modelmill.recipe import Recipe
from modelmill.store import open_store
from tests.cli import wait_until
from tests.recipes import write_table
from tests.trigger.replicas import BEARER_HEADER, Runs, no_work, serving


def test_200_duplicate_requests_at_once_over_two_replicas_give_one_run(
    store_uri: str, recipe: Recipe, runs: Runs
) -> None:
    runs.seconds = 0.2
    with (
        serving([recipe], runs.starter(store_uri, 3600)) as one,
        serving([recipe], runs.starter(store_uri, 3600)) as two,
        ThreadPoolExecutor(200) as pool,
    ):
        asked = [pool.submit((one, two)[n % 2].trigger, recipe.name, by=f"asker {n}") for n in range(200)]
        answers = [answer.result() for answer in asked]
        started = [client.metric("modelmill_trigger_runs_started_total") for client in (one, two)]
        deduplicated = [client.metric("modelmill_trigger_deduplicated_total") for client in (one, two)]
        later = two.trigger(recipe.name)
    assert len(runs.submitted) == 1
    assert sorted(answer.status for answer in answers) == [200] * 199 + [202]
    assert sum(started) == 1
    assert sum(deduplicated) == 199
    assert later.body["run_id"] == "run-1"
    kept = open_store(store_uri).get(claims.key_of(later.body["key"]))
    assert len(claims.Claim.model_validate_json(kept).askers) == claims.MOST_ASKERS


def test_a_bad_signature_or_timestamp_is_401_and_no_work(folder_uri: str, recipe: Recipe, runs: Runs) -> None:
    now = int(time.time())
    with serving([recipe], runs.starter(folder_uri)) as client:
        refused = [
            client.trigger(recipe.name, secret=b"not the secret of the server"),
            client.trigger(recipe.name, timestamp=str(now - signing.WINDOW_SECONDS - 5)),
            client.trigger(recipe.name, timestamp=str(now + signing.WINDOW_SECONDS + 5)),
            client.trigger(recipe.name, timestamp="yesterday"),
            client.post(f"/trigger/{recipe.name}", b"{}", {}),
            client.post(f"/trigger/{recipe.name}", b"{}", BEARER_HEADER),
            client.post("/events", b"{}", {"Authorization": "Bearer no"}),
        ]
        assert [answer.status for answer in refused] == [401] * 7
        assert client.metric('modelmill_trigger_requests_total{endpoint="trigger",result="unauthorized"}') == 6
        assert no_work(runs, folder_uri)


def test_a_body_that_was_changed_on_the_way_is_401(folder_uri: str, recipe: Recipe, runs: Runs) -> None:
    now = str(int(time.time()))
    body = json.dumps({"recipe": recipe.name, "reason": "r", "by": "ann"}).encode()
    headers = {signing.TIMESTAMP_HEADER: now, signing.SIGNATURE_HEADER: signing.sign(b"x" * 16, now, body)}
    with serving([recipe], runs.starter(folder_uri)) as client:
        assert client.post(f"/trigger/{recipe.name}", body.replace(b"ann", b"bob"), headers).status == 401
        assert no_work(runs, folder_uri)


def test_a_request_that_is_replayed_does_no_work_on_any_replica(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    now = str(int(time.time()))
    with serving([recipe], runs.starter(folder_uri)) as one, serving([recipe], runs.starter(folder_uri)) as two:
        assert one.trigger(recipe.name, now, id="the same").status == 202
        write_table(tmp_path / "data", rows=202)
        replayed = [one.trigger(recipe.name, now, id="the same"), two.trigger(recipe.name, now, id="the same")]
        assert [answer.status for answer in replayed] == [401, 401]
        assert len(runs.submitted) == 1
        assert two.trigger(recipe.name, now, id="another").status == 202


def test_what_is_remembered_of_old_requests_is_deleted(folder_uri: str) -> None:
    store = open_store(folder_uri)
    now = int(time.time())
    signing.require_first(store, f"{now - 3 * signing.WINDOW_SECONDS}-aa")
    signing.require_first(store, f"{now}-bb")
    signing.forget_old(store)
    assert list(store.list("triggers/")) == [f"triggers/replays/{now}-bb"]


def test_a_body_over_the_limit_is_413_before_it_is_read(folder_uri: str, recipe: Recipe, runs: Runs) -> None:
    with serving([recipe], runs.starter(folder_uri)) as client:
        large = client.trigger(recipe.name, reason="x" * 70_000)
        assert large.status == 413
        connection = http.client.HTTPConnection(urlsplit(client.url).netloc, timeout=30)
        # Announces 10 GB and sends nothing of it; then sends one piece too much without an announcement, and no end.
        connection.request("POST", "/events", headers={"Content-Length": str(10**10)})
        assert connection.getresponse().status == 413
        connection.close()
        connection.putrequest("POST", "/events")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        for _ in range(65):
            connection.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert connection.getresponse().status == 413
        connection.close()
        assert no_work(runs, folder_uri)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "body: "),
        (b'{"recipe": "tiny-table", "by": "ann"}', "reason: "),
        (b'{"recipe": "tiny-table", "by": "ann", "reason": "r", "colour": "red"}', "colour: "),
        (b'{"recipe": "tiny-table", "by": "ann", "reason": "r", "kind": "poll"}', "kind: "),
        (b'{"recipe": "another", "by": "ann", "reason": "r"}', "the signed body another"),
    ],
)
def test_a_signed_body_that_says_nothing_is_400(
    folder_uri: str, recipe: Recipe, runs: Runs, body: bytes, said: str
) -> None:
    with serving([recipe], runs.starter(folder_uri)) as client:
        answer = client.signed(f"/trigger/{recipe.name}", body)
        assert (answer.status, said in answer.body["error"]) == (400, True)
        assert no_work(runs, folder_uri)


def test_a_recipe_that_is_not_served_is_404(folder_uri: str, recipe: Recipe, runs: Runs) -> None:
    with serving([recipe], runs.starter(folder_uri)) as client:
        assert client.trigger("another").status == 404
        assert no_work(runs, folder_uri)


def test_within_the_cool_down_a_client_is_told_how_long(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    with serving([recipe], runs.starter(folder_uri, 3600)) as client:
        client.trigger(recipe.name)
        write_table(tmp_path / "data", rows=202)
        refused = client.trigger(recipe.name)
        assert refused.status == 429
        assert 3500 < int(refused.headers["Retry-After"]) <= 3600
        assert client.metric("modelmill_trigger_cool_down_refusals_total") == 1
        assert client.trigger(recipe.name, force=True, kind="drift", reason="psi 0.4").status == 202
    assert runs.submitted[-1] == ("tiny-table", "ann", "drift: psi 0.4")


def test_data_that_are_gone_are_503_and_the_next_request_is_served(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    (tmp_path / "data" / "table.csv").rename(tmp_path / "table.csv")
    with serving([recipe], runs.starter(folder_uri)) as client:
        assert client.trigger(recipe.name).status == 503
        (tmp_path / "table.csv").rename(tmp_path / "data" / "table.csv")
        assert client.trigger(recipe.name).status == 202
        assert client.get("/healthz").body == {"status": "ok"}


def test_a_lost_event_is_found_by_the_reconciler_also_after_a_restart(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    seen = "modelmill_trigger_reconciler_last_success_timestamp_seconds"
    with serving([recipe], runs.starter(folder_uri), poll=0.05) as client:
        assert wait_until(lambda: client.metric(seen) > 0)
        write_table(tmp_path / "data", rows=202)
        assert wait_until(lambda: len(runs.submitted) == 1)
        assert client.trigger(recipe.name).body["result"] == "deduplicated"
    write_table(tmp_path / "data", rows=204)
    with serving([recipe], runs.starter(folder_uri), poll=0.05):
        assert wait_until(lambda: len(runs.submitted) == 2)
    assert runs.submitted[1][1] == "reconciler"
    assert runs.submitted[1][2].startswith("poll: the data changed, ")


def test_the_reconciler_goes_on_after_data_that_cannot_be_read(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    with serving([recipe], runs.starter(folder_uri), poll=0.05) as client:
        assert wait_until(lambda: client.metric("modelmill_trigger_requests_total") == 0 and _has_seen(folder_uri))
        (tmp_path / "data" / "table.csv").unlink()
        assert wait_until(lambda: client.metric("modelmill_trigger_reconciler_failures_total") > 0)
        write_table(tmp_path / "data", rows=202)
        assert wait_until(lambda: len(runs.submitted) == 1)


def test_a_first_look_starts_nothing_and_a_cool_down_is_waited_for(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    with serving([recipe], runs.starter(folder_uri, 2), poll=0.05) as client:
        assert wait_until(lambda: _has_seen(folder_uri))
        assert not runs.submitted
        assert client.trigger(recipe.name).status == 202
        write_table(tmp_path / "data", rows=202)
        assert client.trigger(recipe.name).status == 429
        assert wait_until(lambda: len(runs.submitted) == 2)


def _has_seen(store_uri: str) -> bool:
    return bool(list(open_store(store_uri).list("triggers/seen/")))
