"""Training that diverges, and a store that fills up: nothing is registered, and what was good is kept."""

import subprocess
from pathlib import Path
from typing import Any

from modelmill.store import open_store
from tests import cli
from tests.recipes import table_recipe, write_table


def memos(store: Path) -> set[str]:
    """The steps that the store knows as finished."""
    return {key.split("/")[1] for key in open_store(f"file://{store}").list("memo/") if "/last/" not in key}


def test_a_loss_that_is_not_a_number_registers_nothing_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    diverging: dict[str, Any] = {
        "model": {"hidden": [4], "activation": "relu"},
        "fine_tuning__optimizer": "sgd",
        "fine_tuning__learning_rate": 100.0,
        "fine_tuning__momentum": 0.99,
        "fine_tuning__weight_decay": 1.0,
        "fine_tuning__clip_norm": None,
        "fine_tuning__patience": None,
        "fine_tuning__checkpoint_seconds": 0.0,
    }
    recipe, store = table_recipe(tmp_path, write_table(tmp_path / "data"), **diverging), tmp_path / "store"
    done = cli.run_json(recipe, store)
    assert done["returncode"] == 1
    assert (done["outcome"], done["failed_step"], done["model"]) == ("failed", "fine_tuning", None)
    assert "loss became" in done["reason"] and "is kept" in done["reason"]
    assert "Traceback" not in done["stderr"]
    assert memos(store) == {"data_validation", "preprocessing", "pretraining"}
    kept = list(open_store(f"file://{store}").list("checkpoints/"))
    assert any(key.endswith("/latest.json") for key in kept) and len(kept) > 1


def test_a_store_that_is_full_fails_clearly_and_goes_on_when_there_is_room(full_disk: Path, tmp_path: Path) -> None:
    recipe, store = table_recipe(tmp_path, write_table(tmp_path / "data")), full_disk / "store"
    room = full_disk / "filler"
    subprocess.run(["fallocate", "-l", "3600K", str(room)], check=True)
    done = cli.modelmill("run", recipe, "--store", f"file://{store}")
    assert done.returncode != 0
    assert "No space left on device" in done.stderr or "disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    room.unlink()
    again = cli.run_json(recipe, store)
    assert again["returncode"] == 0, again["stderr"]
    assert again["model"]["version"] == "1"
