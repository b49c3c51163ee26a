"""KFP's SeaweedFS, as it is installed, has room for every bucket of a kind or minikube cluster."""

import re
from urllib.parse import urlsplit

import pytest

from modelmill.pipelines.cluster.settings import load
from modelmill.runtime.bucket_probe import require_writable
from modelmill.store import StoreError
from tests import seaweedfs
from tests.k8s.rendered import K8S, kfp, named
from tests.seaweedfs import SeaweedFS


def volumes() -> int:
    """The number of volumes that the installed server may have; 8, its own default, where nothing is said."""
    (server,) = [one for one in kfp() if one["kind"] == "Deployment" and one["metadata"]["name"] == "seaweedfs"]
    (container,) = server["spec"]["template"]["spec"]["containers"]
    assert container["args"][0] == "server" and "-s3" in container["args"], "what KFP says is kept"
    said = [found[1] for word in container["args"] if (found := re.fullmatch(r"-volume\.max=(\d+)", word))]
    return int(said[-1]) if said else 8


def buckets() -> list[str]:
    """KFP's own bucket, the store's, and those that the Job makes."""
    jobs = named("kind", "Job", "buckets")["spec"]["template"]["spec"]["containers"]
    made = [job["args"][1].removeprefix("store:") for job in jobs]
    store = urlsplit(load(K8S / "overlays" / "kind" / "cluster.yaml").store).netloc
    assert store in made
    return ["mlpipeline", *made]


def write_each(server: SeaweedFS, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    for name in names:
        server.create_bucket(name)
        require_writable(name)


def test_every_bucket_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(buckets()) == 4
    with seaweedfs.running(as_kfp_with=volumes()) as server:
        write_each(server, buckets(), monkeypatch)


def test_with_the_servers_own_default_the_next_bucket_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    with seaweedfs.running(as_kfp_with=8) as server, pytest.raises(StoreError, match="fails or is overloaded"):
        write_each(server, buckets(), monkeypatch)
