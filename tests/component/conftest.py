"""Fixtures of the component tests."""

import os

import pytest


@pytest.fixture
def default_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has pointed MLflow anywhere."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
