"""A cluster for tests: its file, a recipe that it can run, and the command line in this process."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from modelmill.pipelines import cli
from modelmill.pipelines.cluster import client as clients
from tests.recipes import table_recipe

PROFILES = {"profiles": {"cpu": {"cpu": "1", "memory": "1Gi"}}}


# The store of a cluster file that names no other; a test that needs one puts its bucket here.
STORE = "s3://nowhere/mill"


class Done(NamedTuple):
    """What a command has said, and how it ended."""

    code: int
    out: str
    err: str


def write_cluster(folder: Path, host: str, store: str | None = None, **changes: Any) -> Path:
    """A cluster file; `changes` are keys of its section `kfp`."""
    document = {
        "kfp": {"host": host, "ui": "https://kfp.example.com", "namespace": "mill", **changes},
        "store": store or STORE,
        # A name that only the cluster knows.
        "endpoint": "http://seaweedfs.invalid:8333",
        "mlflow": "http://mlflow.mill:5000",
        "images": {"registry": "registry.example.com/mill"},
    }
    (folder / "profiles.yaml").write_text(yaml.safe_dump(PROFILES))
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def cluster_recipe(folder: Path, **changes: Any) -> Path:
    """A recipe whose data is where a cluster sees it."""
    return table_recipe(folder, folder / "data", data__path="s3://data/table", **changes)


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nothing of the person who runs the tests, a folder to work in, and no waiting between tries."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "MODELMILL_", "MLFLOW_", "KF_")):
            monkeypatch.delenv(name)
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "MLFLOW_TRACKING_URI"):
        # `submit` sets what is not set; this has it taken away again.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("KUBECONFIG", str(folder / "no-kubeconfig"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(clients, "SECONDS", 0.01)
    monkeypatch.chdir(folder)


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """What runs a command line, as `modelmill` does, in this process: KFP's client is imported once."""

    def call(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["modelmill", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        code = ended.value.code
        return Done(code if isinstance(code, int) else 0, said.out, said.err)

    return call
