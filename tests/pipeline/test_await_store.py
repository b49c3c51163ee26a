"""The trigger service's pod waits for the store before the service starts."""

import subprocess
import sys
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
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)


def test_it_waits_until_the_bucket_is_made(tmp_path: Path, seaweedfs: SeaweedFS, forks: None) -> None:
    bucket = f"late-{uuid.uuid4().hex[:8]}"
    cluster = write_cluster(tmp_path, "http://kfp", f"s3://{bucket}/mill")
    command = [sys.executable, "-m", "modelmill.pipelines.cluster.await_store", str(cluster)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"has no bucket {bucket}" in process.stdout.readline()
        # The reason is said once, however often it is met.
        time.sleep(3 * await_store.PAUSE_SECONDS)
        seaweedfs.create_bucket(bucket)
        (said,) = process.stdout.readlines()
    assert process.returncode == 0
    assert said == f"s3://{bucket}/mill at {seaweedfs.endpoint} can be written\n"


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
