"""Stores to test: a folder, and a bucket of a real S3 store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmill.store import Store, open_store
from tests.seaweedfs import SeaweedFS
from tests.store.proxy import Proxy


@pytest.fixture
def s3_uri(bucket: str) -> str:
    return f"{bucket}/team/mill"


@pytest.fixture(params=["file", "s3"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "file":
        return f"file://{tmp_path / 'store'}"
    uri: str = request.getfixturevalue("s3_uri")
    return uri


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri)


@pytest.fixture
def proxy(seaweedfs: SeaweedFS, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Stands between boto3 and the S3 store: stores opened after it go through it."""
    with Proxy(seaweedfs.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy
