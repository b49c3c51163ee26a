"""What the report says of what training cost, against the plan."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from modelmill.runtime import run_records
from modelmill.runtime.run_records import Estimate, Problem
from tests.component.past import HOSTILE, RUN, Past

pytestmark = pytest.mark.usefixtures("default_registry")


MEASURED = {
    "tokens_per_second": 9823.7, "model_flops_per_second": 1.777e11, "mfu": 0.41, "peak_memory_bytes": 934141952,
    "energy_joules": 12345.0, "device": HOSTILE, "devices": 1, "device_seconds": 44.0, "model_flops": 4.4e12,
}  # fmt: skip
ESTIMATE = Estimate(unit="tokens", model_flops=4.0e12, device_hours=40 / 3600, basis="last ran at 100 GFLOP/s")


def training_of(past: Past, metrics: dict[str, Any], **fields: Any) -> str:
    """What the page says, from Training on, of a run in which fine-tuning measured this and pretraining was reused."""
    past.data_validation()
    past.preprocessing()
    for name in ("pretraining", "fine_tuning"):
        past.stage(name)
        record = run_records.read_step(past.store, RUN, name)
        assert record is not None
        ended = fields if name == "fine_tuning" else {"status": "reused"}
        run_records.write_step(past.store, RUN, record.model_copy(update={"metrics": metrics, **ended}))
    body = past.report().source.partition('<section id="training">')[2]
    return " ".join(unescape(re.sub("<[^>]+>", " ", body)).split())


def test_cost_is_shown_against_the_plan_and_what_was_reused_cost_nothing(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.plan({"pretraining": ESTIMATE, "fine_tuning": ESTIMATE})
    text = training_of(past, MEASURED)
    shown = text.partition("Cost Fine tuning Planned Actual Off by")[2]
    assert shown.startswith(" Model FLOPs 4 TFLOP 4.4 TFLOP +10.0 % Device time 40.0 s 44.0 s +10.0 %")
    for fact in ("9,824 tokens/s", "178 GFLOP/s", "41.0 %", "890.9 MiB", "12.3 kJ", "last ran at 100 GFLOP/s"):
        assert fact in shown
    assert text.count("Off by") == 1 and HOSTILE in shown


def test_what_was_not_known_before_is_unknown_and_off_by_nothing(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.plan({"fine_tuning": Estimate(unit="samples", basis="the model's shape is not known before a first run")})
    shown = training_of(past, MEASURED).partition("Off by")[2]
    assert shown.startswith(" Model FLOPs unknown 4.4 TFLOP Device time unknown 44.0 s The plan: the model's shape")


def test_without_a_plan_as_on_a_cluster_the_actual_cost_alone_is_shown(tmp_path: Path) -> None:
    past = Past(tmp_path)
    past.store.delete(f"runs/{RUN}/run.json")
    text = training_of(past, MEASURED)
    assert "Cost Fine tuning Actual Model FLOPs 4.4 TFLOP Device time 44.0 s Speed 9,824 tokens/s" in text
    assert "Planned" not in text


def test_a_training_that_failed_shows_no_cost(tmp_path: Path) -> None:
    problem = Problem(kind="diverged", message="the loss became nan", exit_code=1)
    assert "Cost" not in training_of(Past(tmp_path), {}, status="failed", problem=problem)


def test_skipped_batches_and_a_resumption_are_said_with_the_training(tmp_path: Path) -> None:
    text = training_of(Past(tmp_path), {"skipped_batches": 3, "resumed_from_step": 17})
    assert "Skipped batches 3 Resumed from step 17" in text.partition("Fine tuning")[2]
