"""The trigger service's pod waits for the store before the service starts."""

import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from modelmill.core.errors import ModelmillError
from modelmill.pipelines.cluster import await_store
from tests import kfp_cluster
from tests.kfp_cluster import write_cluster
from tests.seaweedfs import SeaweedFS


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    kfp_cluster.isolate(monkeypatch, tmp_path)
    monkeypatch.setattr(await_store, "PAUSE_SECONDS", 0.1)
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)


def test_it_waits_until_the_bucket_is_made(
    tmp_path: Path, seaweedfs: SeaweedFS, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = f"late-{uuid.uuid4().hex[:8]}"

    def make() -> None:
        time.sleep(1)
        seaweedfs.create_bucket(bucket)

    maker = threading.Thread(target=make)
    maker.start()
    assert f"s3://{bucket}/mill" in await_store.wait(write_cluster(tmp_path, "http://kfp", f"s3://{bucket}/mill"))
    maker.join()
    said = capsys.readouterr().out.splitlines()
    # A reason is said once, however often it is met.
    assert len(said) == 1 and f"has no bucket {bucket}" in said[0]


def test_a_store_that_does_not_come_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    cluster = write_cluster(tmp_path, "http://kfp")
    with pytest.raises(ModelmillError, match=r"^s3://nowhere/mill: not after 0 s: http://127\.0\.0\.1:1 is not reach"):
        await_store.wait(cluster, 0.3)
    monkeypatch.setattr(sys, "argv", ["await_store", str(tmp_path / "gone.yaml")])
    with pytest.raises(SystemExit) as ended:
        await_store.main()
    assert ended.value.code == 2
    assert "no such file" in capsys.readouterr().err
