"""What the reconciler cannot look at is in the log once, and again when it changes."""

import logging
import shutil
from pathlib import Path

import pytest

from modelmill.pipelines.trigger.asking import Starter, state_in
from modelmill.pipelines.trigger.metrics import Metrics
from modelmill.pipelines.trigger.reconciler import Reconciler
from modelmill.pipelines.trigger.server import Service
from modelmill.pipelines.trigger.signing import Secrets
from modelmill.recipe import Recipe
from modelmill.store import open_store


def test_a_recipe_without_data_is_told_once_and_again_on_change(
    tmp_path: Path, recipe: Recipe, folder_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "modelmill.trigger")
    store = open_store(folder_uri)
    starter = Starter(store, lambda recipe, asker: "r1", lambda run_id: state_in(store, run_id))
    service = Service({recipe.name: recipe}, starter, Secrets(b"secret"), 1.0, Metrics())
    reconciler = Reconciler(starter)

    def said_in_three_looks() -> list[tuple[str, str]]:
        caplog.clear()
        for _ in range(3):
            service.reconcile(reconciler)
        return [(one.levelname, one.getMessage()) for one in caplog.records]

    shutil.rmtree(tmp_path / "data")
    [(level, gone)] = said_in_three_looks()
    assert level == "WARNING" and recipe.name in gone
    assert said_in_three_looks() == []
    (tmp_path / "data").mkdir()
    changed = said_in_three_looks()
    assert sorted(level for level, _ in changed) == ["INFO", "WARNING"]
    assert ("INFO", gone.replace("reconciler: ", "reconciler: no longer: ")) in changed
    (tmp_path / "data" / "table.csv").write_text("a,b\n1,2\n")
    assert [level for level, _ in said_in_three_looks()] == ["INFO"]
