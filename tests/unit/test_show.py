"""What a person sees of a run while it goes on."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from modelmill.pipelines.display.plan import show_costs
from modelmill.pipelines.display.progress import Bars, Lines
from modelmill.pipelines.display.steps import show_run
from modelmill.runtime.run_records import Estimate, Problem, Progress, StepRecord


def last_frame(*watched: list[StepRecord]) -> list[str]:
    """The lines of the bars after these records were shown, one after the other."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120, color_system=None)
    with Bars(console) as bars:
        for records in watched:
            bars.watch(records)
        shown.truncate(0)
    names = [record.name for record in watched[-1]]
    return [line for line in shown.getvalue().splitlines() if any(name in line for name in names)][-len(names) :]


def test_a_bar_that_was_full_still_ends_with_what_became_of_the_step() -> None:
    training = StepRecord(name="pretraining", status="running", progress=Progress(done=9, total=9, text="loss 1.0"))
    ended = training.model_copy(update={"status": "ran", "headline": "validation loss 0.9"})
    assert "loss 1.0" in last_frame([training])[0]
    assert "ran validation loss 0.9" in last_frame([training], [ended])[0]


def test_a_step_that_failed_says_why_and_its_bar_is_not_full() -> None:
    problem = Problem(kind="user", message="column [x] is missing")
    failed = StepRecord(name="preprocessing", status="failed", problem=problem)
    line = last_frame([failed])[0]
    assert "failed column [x] is missing" in line and "━" not in line


def test_the_table_ends_with_a_path_that_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = (tmp_path / "my store" / "report.html").as_uri()
    summary = {"steps": [], "model": None, "report": report}
    lines = []
    for folder in (tmp_path, tmp_path / "elsewhere"):
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        show_run(summary)
        lines.append(capsys.readouterr().out.splitlines()[-1])
    assert lines == ["report  my store/report.html", f"report  {tmp_path}/my store/report.html"]


def test_a_plan_adds_up_what_training_costs_and_says_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    known = Estimate(
        unit="tokens", parameters=2_557_632, amount=1_024_000, model_flops=1.81e13, device_hours=0.05, basis="as [last]"
    )
    costs = {"pretraining": known, "fine_tuning": known.model_copy(update={"device_hours": None})}
    show_costs(costs)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert lines[0] == ["training", "parameters", "tokens", "FLOPs", "device", "time"]
    assert lines[1] == ["pretraining", "2.56", "M", "1.02", "M", "18.1", "T", "3", "min", "0", "s"]
    assert lines[2][-1] == "unknown"
    assert lines[3] == ["total", "36.2", "T", "unknown"]
    assert lines[4] == ["pretraining:", "as", "[last]"]


def test_a_plan_that_trains_nothing_has_no_table_of_costs(capsys: pytest.CaptureFixture[str]) -> None:
    show_costs({})
    assert capsys.readouterr().out == ""


def test_off_a_terminal_a_line_is_printed_only_when_it_says_something_new(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("modelmill.pipelines.display.progress.time.monotonic", lambda: now)
    lines = Lines()
    scanning = StepRecord(name="data_validation", status="running")
    halfway = scanning.model_copy(update={"progress": Progress(done=4, total=8, text="rows")})
    ended = scanning.model_copy(update={"status": "ran", "seconds": 99.0, "headline": "8 rows"})
    for record in (scanning, scanning, scanning, halfway, halfway, ended, ended):
        now += 10
        lines.watch([record])
    assert capsys.readouterr().err.splitlines() == [
        "data_validation: running",
        "data_validation: rows (4 of 8)",
        "data_validation: ran in 99.0 s: 8 rows",
    ]
