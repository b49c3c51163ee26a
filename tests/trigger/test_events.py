"""Events of the object store: whose data they are about, and what the store really sends."""

import json
import time
from pathlib import Path

import pytest
import yaml

from modelmill.pipelines.trigger.requests import BODY_BYTES, EVENT_BYTES
from modelmill.recipe import Recipe
from modelmill.store import open_store
from tests import seaweedfs
from tests.cli import ROOT, wait_until
from tests.trigger.replicas import BEARER, BEARER_HEADER, Runs, no_work, serving

SETTINGS = ROOT / "k8s" / "kfp" / "seaweedfs.yaml"


def record(bucket: str, key: object) -> dict[str, object]:
    return {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}


def renamed(old: str, folder: str, name: str) -> dict[str, object]:
    """As SeaweedFS 4.48 tells of a file that was moved."""
    entry = {"name": name, "attributes": {"file_size": 10}}
    message = {"old_entry": entry, "new_entry": entry, "new_parent_path": folder, "signatures": [-1270057166]}
    return {"event_type": "rename", "key": old, "message": message}


@pytest.mark.parametrize(
    ("document", "is_signed"),
    [
        (lambda bucket: {"Records": [record(bucket, "shards/new+part%3D1.csv")]}, True),
        (lambda bucket: {"Records": [record("elsewhere", "a.csv"), record(bucket, "shards/b.csv")]}, False),
        (lambda bucket: {"key": f"/buckets/{bucket}/shards/b.csv", "event_type": "create", "message": {}}, False),
        (lambda bucket: renamed("/buckets/elsewhere/b.csv", f"/buckets/{bucket}/shards", "b.csv"), False),
        (lambda bucket: renamed(f"/buckets/{bucket}/shards/b.csv", "/elsewhere", "b.csv"), False),
    ],
)
def test_events_start_the_recipes_whose_data_changed(
    s3_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path, document: object, is_signed: bool
) -> None:
    bucket = s3_uri.removeprefix("s3://").partition("/")[0]
    open_store(f"s3://{bucket}").put("shards/a.csv", (tmp_path / "data" / "table.csv").read_bytes())
    other = recipe.model_copy(update={"name": "other"})
    data = recipe.data.model_copy(update={"path": f"s3://{bucket}/shards/*.csv"})
    body = json.dumps(document(bucket)).encode()  # type: ignore[operator]
    with serving([recipe.model_copy(update={"data": data}), other], runs.starter(s3_uri)) as client:
        answers = [
            client.signed("/events", body, str(int(time.time()) - 60 * n))
            if is_signed
            else client.post("/events", body, BEARER_HEADER)
            for n in range(2)
        ]
    results = [answer.body["recipes"]["tiny-table"]["result"] for answer in answers]
    assert results == ["started", "deduplicated"]
    assert len(runs.submitted) == 1
    assert runs.submitted[0][:2] == ("tiny-table", "events")
    assert f"event: changed: s3://{bucket}/shards/" in runs.submitted[0][2]


def test_events_of_other_objects_and_test_events_start_nothing(folder_uri: str, recipe: Recipe, runs: Runs) -> None:
    data = recipe.data.model_copy(update={"path": "s3://data/shards"})
    with serving([recipe.model_copy(update={"data": data})], runs.starter(folder_uri)) as client:
        for document in (
            {"Records": [record("data", "shards-old/a.csv"), record("data2", "shards/a.csv")]},
            {"Event": "s3:TestEvent"},
            {"key": "/etc/seaweedfs/filer.conf"},
        ):
            answer = client.post("/events", json.dumps(document).encode(), BEARER_HEADER)
            assert (answer.status, answer.body) == (200, {"recipes": {}})
        for records in ([1], [{"s3": {"bucket": {"name": 5}, "object": {"key": "a"}}}], [record("data", 5)], [[]]):
            body = json.dumps({"Records": records}).encode()
            assert client.post("/events", body, BEARER_HEADER).status == 400
        assert client.post("/events", b"{}", BEARER_HEADER).status == 400
        assert no_work(runs, folder_uri)


def test_seaweedfs_itself_tells_of_new_data(
    folder_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the settings that a cluster's has, switched on; only the address and the secret are others."""
    data = recipe.data.model_copy(update={"path": "s3://modelmill/data/table"})
    (container,) = yaml.safe_load(SETTINGS.read_text())["spec"]["template"]["spec"]["containers"]
    webhook = {one["name"]: one.get("value", "") for one in container["env"]}
    with serving([recipe.model_copy(update={"data": data})], runs.starter(folder_uri)) as client:
        webhook["WEED_NOTIFICATION_WEBHOOK_ENABLED"] = "true"
        webhook["WEED_NOTIFICATION_WEBHOOK_ENDPOINT"] = f"{client.url}/events"
        webhook["WEED_NOTIFICATION_WEBHOOK_BEARER_TOKEN"] = BEARER.decode()
        with seaweedfs.running(**webhook) as weed:
            for name, value in weed.env.items():
                monkeypatch.setenv(name, value)
            bucket = open_store(weed.create_bucket("modelmill"))
            bucket.put("store/a.csv", b"no data")
            table = (tmp_path / "data" / "table.csv").read_bytes()
            for number, key in enumerate(("data/table/one.csv", "data/table/deep/two ü+%.csv"), 1):
                bucket.put(key, table)
                assert wait_until(lambda number=number: len(runs.submitted) == number)
            bucket.delete("data/table/one.csv")
            assert wait_until(lambda: len(runs.submitted) == 3)
        taken = client.metric('modelmill_trigger_requests_total{endpoint="events",result="taken"}')
    # Beside the objects it tells of the folders that come with them.
    assert taken >= 3
    assert [asked[1] for asked in runs.submitted] == ["events"] * 3
    assert "event: changed: s3://modelmill/data/table" in runs.submitted[0][2]


def test_an_event_of_a_large_object_is_taken_of_those_who_have_the_secret_only(
    folder_uri: str, recipe: Recipe, runs: Runs
) -> None:
    with serving([recipe], runs.starter(folder_uri)) as client:
        chunk = {"size": 4194304, "e_tag": "RJgTYtO6m1usrwF8LynTVQ==", "fid": {"volume_id": 2, "file_key": 7}}
        event = {"event_type": "create", "key": "/buckets/a/b", "message": {"new_entry": {"chunks": [chunk] * 2000}}}
        body = json.dumps(event).encode()
        assert len(body) > BODY_BYTES
        assert client.post("/events", body, BEARER_HEADER).status == 200
        assert client.announced("/events", EVENT_BYTES + 1, BEARER_HEADER) == 413
        assert client.announced("/events", len(body), {}) == 413


def test_a_recipe_that_cannot_be_asked_for_keeps_no_other_from_its_event(
    s3_uri: str, recipe: Recipe, runs: Runs, tmp_path: Path
) -> None:
    bucket = s3_uri.removesuffix("/mill")
    open_store(bucket).put("shards/new/a.csv", (tmp_path / "data" / "table.csv").read_bytes())
    broken, whole = (
        recipe.model_copy(update={"name": name, "data": recipe.data.model_copy(update={"path": path})})
        for name, path in (("broken", f"{bucket}/shards/new/none-*.csv"), ("whole", f"{bucket}/shards"))
    )
    body = json.dumps({"Records": [record(bucket.removeprefix("s3://"), "shards/new/a.csv")]}).encode()
    with serving([broken, whole], runs.starter(s3_uri)) as client:
        assert client.post("/events", body, BEARER_HEADER).status == 503
    assert [asked[0] for asked in runs.submitted] == ["whole"]
