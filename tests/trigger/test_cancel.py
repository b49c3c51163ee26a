"""POST /cancel/RUN: the word in the store first, then KFP."""

import json
import time
from typing import Any

import pytest

from modelmill.pipelines.trigger import signing
from modelmill.pipelines.trigger.asking import Starter
from modelmill.recipe import Recipe
from modelmill.runtime import cancellation, run_records
from modelmill.runtime.run_records import RunRecord
from modelmill.store import Store, open_store
from tests.cli import wait_until
from tests.trigger.replicas import SECRET, Answer, Runs, serving

RUN = "03ab006a-fe84-440a-baf5-9261227c39b6"


@pytest.fixture
def known(folder_uri: str) -> Store:
    store = open_store(folder_uri)
    record = RunRecord(run_id=RUN, recipe={}, store=store.uri, started=1.0, resume=f"modelmill resume {RUN}")
    run_records.write_run(store, record)
    return store


def ask(client: Any, run_id: str = RUN, secret: bytes = SECRET, by: str = "ann", path: str | None = None) -> Answer:
    data = json.dumps({"run_id": run_id, "by": by}).encode()
    now = str(int(time.time()))
    headers = {signing.TIMESTAMP_HEADER: now, signing.SIGNATURE_HEADER: signing.sign(secret, now, data)}
    answer: Answer = client.post(f"/cancel/{path or run_id}", data, headers)
    return answer


def test_the_word_is_in_the_store_before_the_run_is_stopped(recipe: Recipe, runs: Runs, known: Store) -> None:
    stopped: list[tuple[str, str, str]] = []

    def cancel(run_id: str, by: str) -> list[str]:
        stopped.append((run_id, by, str(cancellation.read(known, run_id))))
        return []

    with serving([recipe], Starter(known, runs.submit, runs.state_of, 0.0, cancel)) as client:
        answer = ask(client)
        assert wait_until(lambda: bool(stopped), 10)
    assert (answer.status, answer.body["result"], answer.body["run_id"]) == (202, "cancelling", RUN)
    assert answer.body["cancelled"].startswith("cancelled by ann, ")
    assert stopped == [(RUN, "ann", answer.body["cancelled"])]


def test_what_is_refused_writes_nothing(recipe: Recipe, runs: Runs, known: Store) -> None:
    with serving([recipe], runs.starter(known.uri)) as client:
        statuses = {
            "another secret": ask(client, secret=b"not the secret of the server").status,
            "no by": ask(client, by="").status,
            "another run in the body": ask(client, path="yesterday").status,
            "unknown": ask(client, "yesterday").status,
        }
        runs.states[RUN] = "failed"
        statuses["ended"] = ask(client).status
    assert statuses == {
        "another secret": 401,
        "no by": 400,
        "another run in the body": 400,
        "unknown": 404,
        "ended": 409,
    }
    assert cancellation.read(known, RUN) is None
