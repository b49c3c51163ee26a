"""What can happen between here and an S3 store: lost connections and answers, wrong credentials, no bucket."""

import io
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from urllib3.exceptions import ProtocolError
from urllib3.response import HTTPResponse

from modelmill.core import digest
from modelmill.core.errors import UserError
from modelmill.store import KeyNotFound, StoreError, open_store
from modelmill.store.s3 import S3Store
from tests.seaweedfs import SeaweedFS
from tests.store.helpers import UPLOAD, names_in
from tests.store.proxy import Proxy

_MIB = 1 << 20
_ALWAYS = 1_000_000


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file of more than one part."""
    path = tmp_path / "big"
    path.write_bytes(os.urandom(40 * _MIB))
    return path


def test_objects_lie_below_the_prefix(seaweedfs: SeaweedFS, s3_uri: str) -> None:
    S3Store(s3_uri + "/").put("runs/1", b"x")
    bucket = s3_uri.split("/")[2]
    listed = seaweedfs.client().list_objects_v2(Bucket=bucket)["Contents"]
    assert [item["Key"] for item in listed] == ["team/mill/runs/1"]
    whole = S3Store(f"s3://{bucket}")
    assert list(whole.list("")) == ["team/mill/runs/1"]
    assert whole.get("team/mill/runs/1") == b"x"
    assert S3Store(s3_uri).local_path("runs/1") is None


@pytest.mark.parametrize("direction", ["requests", "answers"])
def test_an_upload_survives_a_lost_connection(s3_uri: str, proxy: Proxy, big: Path, direction: str) -> None:
    store = S3Store(s3_uri)
    proxy.cut(direction, after=0 if direction == "answers" else 5 * _MIB)  # type: ignore[arg-type]
    store.upload("big", big)
    assert proxy.cuts == 1
    with store.open("big") as stream:
        assert digest.of_stream(stream) == digest.of_file(big)


def test_an_upload_survives_a_lost_answer_to_its_last_request(s3_uri: str, proxy: Proxy, big: Path) -> None:
    """The parts are put together, but the client does not hear of it and asks again."""
    store = S3Store(s3_uri)
    store._client.meta.events.register(
        "before-call.s3.CompleteMultipartUpload", lambda **_: proxy.cut("answers"), unique_id="cut"
    )
    store.upload("big", big)
    assert proxy.cuts == 1
    assert store.size("big") == big.stat().st_size


def test_a_download_survives_a_lost_connection(s3_uri: str, proxy: Proxy, big: Path, tmp_path: Path) -> None:
    store = S3Store(s3_uri)
    store.upload("big", big)
    proxy.cut("answers", after=3 * _MIB)
    store.download("big", tmp_path / "target")
    assert proxy.cuts == 1
    assert digest.of_file(tmp_path / "target") == digest.of_file(big)


def test_a_stream_survives_a_lost_connection(s3_uri: str, proxy: Proxy, big: Path) -> None:
    store = S3Store(s3_uri)
    store.upload("big", big)
    proxy.cut("answers", after=3 * _MIB, times=2)
    with store.open("big") as stream:
        assert digest.of_stream(stream) == digest.of_file(big)
    assert proxy.cuts == 2


def test_a_stream_does_not_go_on_in_another_version(s3_uri: str, proxy: Proxy, big: Path) -> None:
    store = S3Store(s3_uri)
    store.upload("big", big)
    with store.open("big") as stream, pytest.raises(StoreError, match="was replaced while it was read"):
        stream.read(_MIB)
        open_store(s3_uri).put("big", b"x" * 41 * _MIB)
        proxy.cut("answers")  # only now: cut before, it would be opened again in the version that it began with
        stream.read()


def test_a_dead_connection_is_told_and_leaves_no_half_file(
    s3_uri: str, proxy: Proxy, big: Path, tmp_path: Path
) -> None:
    store = S3Store(s3_uri)
    store.upload("big", big)
    target = tmp_path / "into" / "target"
    target.parent.mkdir()
    target.write_bytes(b"before")
    for after, read in ((_MIB, lambda: store.download("big", target)), (5000, lambda: store.get("big"))):
        proxy.cut("answers", after=after, times=_ALWAYS)
        with pytest.raises(StoreError, match=f"^--store {s3_uri}: {proxy.endpoint} broke the connection off again"):
            read()
    assert target.read_bytes() == b"before"
    assert names_in(target.parent) == ["target"]
    proxy.cut("requests", after=_MIB, times=_ALWAYS)
    with pytest.raises(StoreError, match=f"^--store {s3_uri}: {proxy.endpoint} broke the connection off again"):
        store.upload("other", big)
    proxy.cut("requests", times=0)
    assert store.size("other") is None


def test_a_winner_whose_answer_is_lost_still_wins(s3_uri: str, proxy: Proxy) -> None:
    store = S3Store(s3_uri)
    store.size("warm")
    proxy.cut("answers")
    assert store.put_if_absent("lock", b"mine")
    assert not store.put_if_absent("lock", b"mine")
    tag = store.read("lock").tag
    proxy.cut("answers")
    assert store.compare_and_swap("lock", b"mine too", tag)
    assert store.get("lock") == b"mine too"
    assert proxy.cuts == 2


def test_a_loser_whose_answer_is_lost_still_loses(s3_uri: str, proxy: Proxy) -> None:
    """Also where the winner wrote the same bytes."""
    store = S3Store(s3_uri)
    assert store.put_if_absent("lock", b"held")
    proxy.cut("answers")
    assert not store.put_if_absent("lock", b"held")
    proxy.cut("answers")
    assert not store.compare_and_swap("lock", b"held", '"0123456789abcdef0123456789abcdef"')
    assert proxy.cuts == 2


@pytest.mark.parametrize(("conflicts", "tries"), [(2, 3), (_ALWAYS, 8)])
def test_a_conditional_write_that_meets_another_is_sent_again(s3_uri: str, conflicts: int, tries: int) -> None:
    store = S3Store(s3_uri)
    sent: list[str] = []

    def answer(request: Any, **_: object) -> AWSResponse | None:
        sent.append(request.url)
        if len(sent) > conflicts:
            return None
        body = io.BytesIO(b"<Error><Code>ConditionalRequestConflict</Code><Message>again</Message></Error>")
        return AWSResponse(request.url, 409, HeadersDict(), HTTPResponse(body, preload_content=False))

    store._client.meta.events.register("before-send.s3.PutObject", answer)
    if conflicts < tries:
        assert store.put_if_absent("lock", b"mine")
    else:
        with pytest.raises(StoreError, match="ConditionalRequestConflict"):
            store.put_if_absent("lock", b"mine")
    assert len(sent) == tries


def test_an_error_answer_that_breaks_off_is_told(s3_uri: str) -> None:
    store = S3Store(s3_uri)

    class Cut(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ProtocolError("Connection broken: InvalidChunkLength")

    def answer(request: Any, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 412, HeadersDict(), HTTPResponse(Cut(), preload_content=False))

    store._client.meta.events.register("before-send.s3", answer)
    for call in (lambda: store.get("key"), lambda: store.put("key", b""), lambda: store.put_if_absent("key", b"")):
        with pytest.raises(StoreError, match="broke the connection off again and again"):
            call()


def test_a_store_that_ignores_conditions_is_refused(s3_uri: str) -> None:
    for condition in ("IfNoneMatch", "IfMatch"):
        store = S3Store(s3_uri)
        store._client.meta.events.register(
            "provide-client-params.s3.PutObject",
            lambda params, condition=condition, **_: {k: v for k, v in params.items() if k != condition},
        )
        with pytest.raises(StoreError, match="ignores conditional writes"):
            store.check()
        assert list(store.list("")) == []


def test_a_wrong_secret_is_told_but_not_shown(
    seaweedfs: SeaweedFS, s3_uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    store = S3Store(s3_uri)
    with pytest.raises(StoreError, match=f"^--store {s3_uri}: .*refuses the credentials.*AWS_SECRET_ACCESS_KEY"):
        store.check()
    source = tmp_path / "source"
    source.write_bytes(b"x")
    calls: list[Callable[[], object]] = [
        store.check,
        lambda: store.get("key"),
        lambda: store.size("key"),
        lambda: list(store.list("")),
        lambda: store.delete("key"),
        lambda: store.put_if_absent("key", b""),
        lambda: store.upload("key", source),
        lambda: store.download("key", tmp_path / "target"),
    ]
    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        told = f"{caught.value} {caught.value.__cause__}"
        assert "\n" not in str(caught.value)
        assert not any(secret in told for secret in ("wrong-secret", seaweedfs.secret_key, seaweedfs.access_key))


def test_an_unknown_key_id_is_told_but_not_shown(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKNOBODY")
    with pytest.raises(StoreError, match="refuses the credentials") as caught:
        S3Store(s3_uri).check()
    assert "AKNOBODY" not in f"{caught.value} {caught.value.__cause__}"


def test_missing_credentials_are_told(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match=r"no usable credentials .*set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        S3Store(s3_uri).check()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreError, match=r"no usable credentials \(ProfileNotFound\)"):
        S3Store(s3_uri)


def test_a_missing_bucket_is_told_and_not_made(seaweedfs: SeaweedFS, s3_uri: str) -> None:
    for call in (lambda store: store.check(), lambda store: store.get("key"), lambda store: list(store.list(""))):
        with pytest.raises(StoreError, match="has no bucket no-such-bucket; create it"):
            call(S3Store("s3://no-such-bucket/prefix"))
    assert "no-such-bucket" not in [bucket["Name"] for bucket in seaweedfs.client().list_buckets()["Buckets"]]


def test_an_endpoint_that_refuses_is_told(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        endpoint = f"http://user:hunter2@127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(
            StoreError, match=r"cannot connect to http://127.0.0.1:\d+; check AWS_ENDPOINT_URL"
        ) as caught:
            S3Store(s3_uri).check()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["localhost", "localhost:8333", "not a url"])
def test_an_endpoint_that_is_no_url_is_told(s3_uri: str, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(StoreError, match=r"^--store .*AWS_ENDPOINT_URL") as caught:
        S3Store(s3_uri).check()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///prefix", "s3://b", "s3://buck et/x", "s3://bucket/../x", "s3://bucket/a?b"]
)
def test_a_uri_that_names_no_place_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=f"^--store {re.escape(uri)}: "):
        open_store(uri)


@pytest.mark.parametrize("uri", ["s3://AKID:hunter2@bucket/x", "s3://host:9000/bucket/x", "s3://AK:hunt/er2@bucket/x"])
def test_credentials_in_a_uri_are_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(UserError, match="holds no credentials") as caught:
        open_store(uri)
    assert "hunt" not in str(caught.value) and "AK:" not in str(caught.value)


def test_a_writer_killed_in_the_middle_leaves_no_object(s3_uri: str, proxy: Proxy, big: Path) -> None:
    proxy.hold_requests(after=10 * _MIB)
    writer = subprocess.Popen([sys.executable, "-c", UPLOAD, s3_uri, "big", str(big)])
    try:
        assert proxy.holding.wait(30)
    finally:
        writer.kill()
        writer.wait()
    proxy.hold_requests(after=None)
    store = S3Store(s3_uri)
    with pytest.raises(KeyNotFound):
        store.get("big")
    assert list(store.list("")) == []
