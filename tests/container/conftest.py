"""The images, and the servers that their steps talk to."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmill.core.image import image_of
from modelmill.recipe.step_specs import STEPS
from tests import mlflow_server
from tests.container import postgres
from tests.seaweedfs import SeaweedFS

# Set where the images were built just before, as in CI: there, what is missing is a failure.
_MUST = "MODELMILL_TEST_IMAGES"


@pytest.fixture(scope="session")
def images() -> list[str]:
    """The images of the steps, built by `tests/container/images`."""
    names = sorted({image_of(step) for step in STEPS})
    try:
        subprocess.run(["docker", "image", "inspect", *names], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get(_MUST):
            raise
        pytest.skip(f"no images of the steps here: sudo tests/container/images builds them ({type(error).__name__})")
    return names


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """The URI of MLflow's database."""
    with postgres.running() as uri:
        yield uri


@pytest.fixture(scope="session")
def servers(seaweedfs: SeaweedFS, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the environment of a run must hold to reach SeaweedFS, and MLflow on PostgreSQL with SeaweedFS behind it."""
    folder: Path = tmp_path_factory.mktemp("driver")
    bucket = seaweedfs.create_bucket("mlflow-artifacts")
    environment = {**seaweedfs.env, **postgres.driver(folder)}
    with mlflow_server.running(bucket=bucket, database=database, environment=environment) as server:
        yield {**seaweedfs.env, "MLFLOW_TRACKING_URI": server.uri}
