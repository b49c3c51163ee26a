"""Steps of a run that is cancelled while they work, and those that have not begun yet."""

import json
import logging
import threading
import time
from pathlib import Path

import pytest

from modelmill.runtime import cancellation, run_records
from tests.component.steps import Steps
from tests.recipes import table_recipe, write_table

LONG = ("fine_tuning.steps=100000", "fine_tuning.patience=null", "fine_tuning.checkpoint_seconds=10000")


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Steps:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cancellation, "CHECK_SECONDS", 0.1)
    return Steps(table_recipe(tmp_path, write_table(tmp_path / "data")), tmp_path / "steps", *LONG)


def cancel_when_trained(steps: Steps, run_id: str) -> None:
    """Cancel the run once its training is under way."""

    def work() -> None:
        while True:
            record = run_records.read_step(steps.store, run_id, "fine_tuning")
            if record is not None and record.progress is not None and record.progress.done > 3:
                break
            time.sleep(0.02)
        cancellation.write(steps.store, run_id, "ann")

    threading.Thread(target=work, daemon=True).start()


def test_a_training_saves_and_its_run_goes_on_at_that_step(steps: Steps) -> None:
    corpus = steps.corpus()
    pretrained = steps.pretrained(corpus)
    cancel_when_trained(steps, str(steps.calls + 1))
    code, message = steps.fails("fine_tuning", ["model"], corpus=corpus, pretrained=pretrained)
    record = steps.record("fine_tuning")
    assert (code, record.status) == (4, "cancelled")
    by, _, saved = message.partition("; saved at step ")
    assert by.startswith("cancelled by ann, ")
    newest, *_ = json.loads(steps.store.get(f"checkpoints/{record.key}/latest.json"))
    assert newest["state"]["step"] == int(saved)
    cancel_when_trained(steps, str(steps.calls + 1))
    _, message = steps.fails("fine_tuning", ["model"], corpus=corpus, pretrained=pretrained)
    assert int(message.partition("; saved at step ")[2]) > int(saved)
    log = steps.store.get(run_records.step_log_key(str(steps.calls), "fine_tuning")).decode()
    assert "fine_tuning 1/100000" not in log, "it has begun anew"


def test_a_step_of_a_cancelled_run_does_no_work(steps: Steps) -> None:
    cancellation.write(steps.store, "1", "ann")
    code, message = steps.fails("data_validation", ["dataset", "validation"])
    assert code == 4 and message.startswith("cancelled by ann, ")
    assert not list(steps.store.list("memo/")), "nothing was finished"
