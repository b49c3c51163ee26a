"""What `--runner docker` refuses before any work, with or without Docker."""

from pathlib import Path
from typing import Any

import pytest

from tests import cli
from tests.recipes import language_recipe, table_recipe, write_table

_S3 = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
_MLFLOW = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
_NO_DOCKER = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
_IN_BUCKET = {"data__path": "s3://data/table"}


@pytest.mark.parametrize(
    ("store", "changes", "environment", "said"),
    [
        ("file:///tmp/no-such-store", _IN_BUCKET, _MLFLOW, "containers reach no folder of this machine"),
        ("s3://models/team", _IN_BUCKET, {}, "MLFLOW_TRACKING_URI is not set"),
        ("s3://models/team", _IN_BUCKET, {"MLFLOW_TRACKING_URI": "sqlite:////tmp/x.db"}, "address of a server"),
        ("s3://models/team", {}, _MLFLOW, "put the data in a bucket"),
        ("s3://models/team", _IN_BUCKET, {**_MLFLOW, **_NO_DOCKER}, "Docker does not answer"),
    ],
    ids=["folder-store", "no-registry", "database-as-registry", "data-in-folder", "no-docker"],
)
def test_what_containers_cannot_reach_is_one_line(
    store: str, changes: dict[str, Any], environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), **changes)
    done = cli.modelmill("run", recipe, "--store", store, "--runner", "docker", **_S3, **environment)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_weights_in_a_folder_are_refused(tmp_path: Path) -> None:
    recipe = language_recipe(tmp_path, tmp_path, **_IN_BUCKET, pretraining__init=str(tmp_path))
    done = cli.modelmill("run", recipe, "--store", "s3://models/team", "--runner", "docker", **_S3, **_MLFLOW)
    assert done.returncode == 2
    assert "pretraining.init" in done.stderr and "models:/NAME/VERSION" in done.stderr


def test_credentials_in_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = x\naws_secret_access_key = hush-hush\n")
    recipe = table_recipe(tmp_path, tmp_path, **_IN_BUCKET)
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_EC2_METADATA_DISABLED": "true"}
    done = cli.modelmill("run", recipe, "--store", "s3://models/team", "--runner", "docker", **environment, **_MLFLOW)
    assert done.returncode == 2
    assert "export-credentials" in done.stderr and "hush-hush" not in done.stderr
