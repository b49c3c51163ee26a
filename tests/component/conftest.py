"""What tests of single steps share."""

from collections.abc import Iterator

import pytest

from tests.mlflow_server import MlflowServer, running


@pytest.fixture(scope="session")
def mlflow_server() -> Iterator[MlflowServer]:
    """One MLflow server for the session; register under a name of your own."""
    with running() as server:
        yield server
