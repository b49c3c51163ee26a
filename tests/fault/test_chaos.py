"""Whole runs, and decisions, on a store of which every tenth request goes wrong."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelmill.champion import champion_state
from modelmill.champion.champion_state import Candidate, Standing
from modelmill.store import open_store
from tests import cli
from tests.mlflow_server import MlflowServer
from tests.recipes import table_recipe, write_table
from tests.seaweedfs import SeaweedFS
from tests.store.chaos import FAULTS, Chaos

SHARE = 0.1


@pytest.fixture
def broken(seaweedfs: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    """A proxy before the store of `bucket`, for this process and its children."""
    with Chaos(seaweedfs.port, SHARE) as chaos:
        monkeypatch.setenv("AWS_ENDPOINT_URL", chaos.endpoint)
        yield chaos


def test_a_run_ends_well_and_decides_once(
    broken: Chaos, seaweedfs: SeaweedFS, mlflow_server: MlflowServer, bucket: str, tmp_path: Path
) -> None:
    name = f"m-{uuid.uuid4().hex[:8]}"
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), registration__model=name)
    env = {**seaweedfs.env, "AWS_ENDPOINT_URL": broken.endpoint, "MLFLOW_TRACKING_URI": mlflow_server.uri}
    done = cli.modelmill("run", recipe, "--store", f"{bucket}/team", "--json", **env)
    assert done.returncode == 0, done.stderr
    assert broken.faults.total() > 5
    assert "Traceback" not in done.stdout + done.stderr
    (entry,) = champion_state.history(open_store(f"{bucket}/team"), name)
    assert entry[1].what == "promoted"


def test_each_decision_is_in_the_log_once(broken: Chaos, bucket: str) -> None:
    """Also one whose answer was lost, and after which somebody else has decided."""
    store, name = open_store(f"{bucket}/team"), f"m-{uuid.uuid4().hex[:8]}"

    def promote(version: int) -> None:
        candidate = Candidate(version=str(version), model="m" * 64, evaluation="e" * 64)

        def decide(now: Standing) -> tuple[Standing, champion_state.Decision]:
            after = now.model_copy(update={"champion": candidate, "previous": now.champion})
            return after, champion_state.decision("promoted", candidate, "better", now.champion)

        champion_state.change(store, name, decide)

    for version in range(1, 41):
        promote(version)
    assert len(broken.faults) > len(FAULTS) / 2
    assert [entry.version for _, entry in champion_state.history(store, name)] == [str(n) for n in range(40, 0, -1)]


def test_a_winner_whose_answer_is_lost_before_another_decides_has_decided_once(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, name = open_store(f"{bucket}/team"), "model"
    real, lost = type(store).put_if_absent, []

    def decide_as(version: str) -> None:
        candidate = Candidate(version=version, model="m" * 64, evaluation="e" * 64)
        champion_state.change(
            store,
            name,
            lambda now: (
                now.model_copy(update={"champion": candidate}),
                champion_state.decision("promoted", candidate, "better", now.champion),
            ),
        )

    def losing(self: object, key: str, data: bytes) -> bool:
        written = real(self, key, data)  # type: ignore[arg-type]
        if key.startswith("registry/") and not lost:
            lost.append(key)
            decide_as("2")  # another one, before the winner asks who has won
            return False
        return written

    monkeypatch.setattr(type(store), "put_if_absent", losing)
    decide_as("1")
    assert [entry.version for _, entry in champion_state.history(store, name)] == ["2", "1"]
