"""A model whose files the object store's server copies to where MLflow keeps them."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from modelmill.core import digest
from modelmill.store import blobs, manifest
from tests import mlflow_server as mlflow_servers
from tests.component.registrations import Case, assert_whole, download, make_case, versions
from tests.seaweedfs import SeaweedFS
from tests.store.proxy import Proxy

WEIGHTS = "model/model.safetensors"
ALWAYS = 1_000_000

pytestmark = pytest.mark.usefixtures("nothing_set")


@pytest.fixture(scope="module")
def mlflow_uri(seaweedfs: SeaweedFS) -> Iterator[str]:
    """A server whose artifacts are in a bucket, to which its clients write them."""
    with mlflow_servers.running(bucket=seaweedfs.create_bucket(f"b-{uuid.uuid4().hex}")) as server:
        yield server.uri


@pytest.fixture
def proxy(nothing_set: None, seaweedfs: SeaweedFS, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Stands between this process and the object store, also for MLflow's client."""
    with Proxy(seaweedfs.port) as proxy:
        for name, value in (seaweedfs.env | {"AWS_ENDPOINT_URL": proxy.endpoint}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
        yield proxy


@pytest.fixture
def case(tmp_path: Path, language_folder: Path, seaweedfs: SeaweedFS, proxy: Proxy) -> Case:
    bucket = seaweedfs.create_bucket(f"b-{uuid.uuid4().hex}")
    return make_case(tmp_path, language_folder, "language_modeling", store_uri=f"{bucket}/team")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of the model that passed through this process."""
    names: list[str] = []
    place = manifest.place

    def noted(store: object, entries: list[manifest.Entry], folder: Path) -> None:
        names.extend(entry.path for entry in entries)
        place(store, entries, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(manifest, "place", noted)
    return names


def damage(case: Case) -> str:
    """Change the weights behind the store's back; returns their sha256."""
    weights = case.manifests["model"].entry(WEIGHTS)
    key = blobs.key_of(weights.sha256)
    data = case.store.get(key)
    case.store.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    return weights.sha256


@pytest.mark.parametrize("alike", [True, False])
def test_the_server_copies_where_the_registry_is_on_it(
    case: Case, proxy: Proxy, sent: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alike: bool
) -> None:
    if not alike:  # as if it were another server, which this process does not see through
        monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", proxy.endpoint.replace("127.0.0.1", "localhost"))
    case.run()
    assert_whole(case)
    assert (WEIGHTS in sent) != alike
    downloaded = download(case, tmp_path / "downloaded")
    for entry in case.manifests["model"].under("model"):
        assert digest.of_file(downloaded / "artifacts" / entry.path) == entry.sha256
    described = yaml.safe_load((downloaded / "MLmodel").read_text())
    files = [file for file in downloaded.rglob("*") if file.is_file() and file.name not in {"MLmodel", "README.md"}]
    assert described["model_size_bytes"] == pytest.approx(sum(f.stat().st_size for f in files), rel=0.1)


def test_a_server_that_is_overloaded_for_a_moment_is_asked_again(case: Case, proxy: Proxy, sent: list[str]) -> None:
    proxy.refuse("x-amz-copy-source", times=3)
    case.run()
    assert proxy.refusals == 3
    assert WEIGHTS not in sent
    assert_whole(case)


def test_where_the_server_does_not_copy_the_files_go_through_mlflow(
    case: Case, proxy: Proxy, sent: list[str], tmp_path: Path
) -> None:
    proxy.refuse("x-amz-copy-source", times=ALWAYS)
    case.run()
    assert proxy.refusals > 1
    assert WEIGHTS in sent
    assert_whole(case)
    weights = case.manifests["model"].entry(WEIGHTS)
    assert digest.of_file(download(case, tmp_path / "downloaded") / "artifacts" / WEIGHTS) == weights.sha256


@pytest.mark.parametrize("copies", [True, False])
def test_weights_that_are_damaged_in_the_store_are_never_verified(case: Case, proxy: Proxy, copies: bool) -> None:
    """A copy is found out when the version is read back; what goes through MLflow, before there is a version."""
    sha256 = damage(case)
    proxy.refuse("x-amz-copy-source", times=0 if copies else ALWAYS)
    with pytest.raises(SystemExit):
        case.run()
    assert f"blob {sha256} does not have the bytes" in case.problem().message
    assert [version.tags["modelmill.verified"] for version in versions(case)] == (["false"] if copies else [])
