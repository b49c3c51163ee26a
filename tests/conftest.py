"""Fixtures that every kind of test may ask for."""

from collections.abc import Iterator

import pytest

from tests.seaweedfs import SeaweedFS, running


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    """One S3 store for the whole session; make a bucket of your own in it."""
    with running() as server:
        yield server
