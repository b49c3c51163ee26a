"""The command line itself: help, report, doctor, demo data, Ctrl-C, terminals."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modelmill.runtime import run_records
from modelmill.store import open_store
from tests import cli
from tests.pipeline.conftest import Finished
from tests.recipes import table_recipe, write_table

COMMANDS = (
    *("run", "plan", "lr-find", "compile", "demo-data", "demo-model", "report", "doctor", "predict", "lineage", "gc"),
    *("promote", "rollback", "submit", "status", "logs", "resume", "cancel", "trigger", "trigger-server"),
)
ESCAPE = "\x1b["


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_every_command_json(command: str) -> None:
    done = cli.modelmill(command, "--help")
    assert done.returncode == 0
    assert f"Example: modelmill {command}" in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize("command", ["data validate", "registry log", "schedule diff", "schedule apply"])
def test_help_of_a_group_of_commands_has_an_example(command: str) -> None:
    assert f"Example: modelmill {command}" in cli.modelmill(*command.split(), "--help").stdout


def test_help_names_every_command_and_how_to_begin() -> None:
    done = cli.modelmill("--help")
    assert done.returncode == 0
    assert set(COMMANDS) <= set(done.stdout.split())
    assert "Example: modelmill run recipes/python-lm.yaml" in done.stdout


def test_help_imports_no_heavy_library() -> None:
    heavy = {"torch", "mlflow", "kfp", "great_expectations", "transformers", "pandas", "boto3", "sklearn"}
    program = (
        "import sys\nfrom modelmill.pipelines.cli import build\n"
        f"for command in {COMMANDS}:\n"
        "    try: build()([command, '--help'])\n    except SystemExit: pass\n"
        f"print('imported:', sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=cli.ROOT)
    assert done.stdout.splitlines()[-1] == "imported: []"


@pytest.mark.parametrize(
    "arguments",
    [("run",), ("run", "recipe.yaml", "--nonsense"), ("nonsense",), ("demo-data", "x"), ("demo-model", "x")],
)
def test_a_wrong_command_line_is_the_users_mistake(arguments: tuple[str, ...]) -> None:
    done = cli.modelmill(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert (arguments[-1] if arguments != ("run",) else "Missing argument") in done.stderr
    assert "Traceback" not in done.stderr


def test_report_says_where_the_page_is_and_copies_it(table_run: Finished, tmp_path: Path) -> None:
    store = ("--store", f"file://{table_run.store}")
    page = Path(cli.modelmill("report", *store).stdout.strip()).read_text()
    assert table_run.summary["run_id"] in page
    copied = cli.modelmill("report", table_run.summary["run_id"], *store, "-o", tmp_path / "page.html")
    assert copied.returncode == 0
    assert (tmp_path / "page.html").read_text() == page
    log = cli.modelmill("report", *store, "--log").stdout
    assert "registration ran in" in log
    assert json.loads(cli.modelmill("report", *store, "--json").stdout)["model"] == table_run.summary["model"]


def test_report_of_an_unknown_run_names_the_latest(table_run: Finished, tmp_path: Path) -> None:
    unknown = cli.modelmill("report", "yesterday", "--store", f"file://{table_run.store}")
    assert unknown.returncode == 2
    assert f"the latest is {table_run.summary['run_id']}" in unknown.stderr
    empty = cli.modelmill("report", "--store", f"file://{tmp_path}/empty")
    assert empty.returncode == 2
    assert "start one with modelmill run RECIPE" in empty.stderr
    unwritable = cli.modelmill("report", "--store", f"file://{table_run.store}", "-o", tmp_path / "no" / "page.html")
    assert unwritable.returncode == 2
    assert "Traceback" not in unwritable.stderr


def test_doctor_goes_through_every_check(table_run: Finished, tmp_path: Path) -> None:
    healthy = cli.modelmill("doctor", table_run.recipe, "--store", f"file://{table_run.store}", "--json")
    findings = {f["name"]: f for f in json.loads(healthy.stdout)["findings"]}
    assert healthy.returncode == 0, healthy.stdout
    assert findings["recipe"]["message"] == "tiny-table: everything is reused"
    (tmp_path / "file").touch()
    sick = cli.modelmill("doctor", tmp_path / "gone.yaml", "--store", f"file://{tmp_path}/file/store")
    assert sick.returncode == 2
    marks = {line.split()[1]: line.split()[0] for line in sick.stdout.splitlines()}
    expected = {"python": "ok", "libraries": "ok", "store": "bad", "registry": "bad", "disk": "ok", "device": "ok"}
    assert marks == {**expected, "recipe": "bad"}
    assert "Traceback" not in sick.stdout + sick.stderr


def test_demo_data_is_written_where_asked(tmp_path: Path) -> None:
    done = cli.modelmill("demo-data", "tabular-mlp", "-o", tmp_path / "digits", "--json")
    files = json.loads(done.stdout)["files"]
    assert done.returncode == 0
    assert sum(len(Path(file).read_text().splitlines()) - 1 for file in files) == 1797


def test_ctrl_c_ends_the_run_with_one_line_and_no_process_left(tmp_path: Path) -> None:
    # Far longer than the test waits, so that a step which outlives its run is seen.
    endless = {"fine_tuning__steps": 10_000_000, "fine_tuning__patience": None, "fine_tuning__evaluate_every": 10_000}
    recipe = table_recipe(tmp_path, write_table(tmp_path / "data"), **endless)
    store = tmp_path / "store"

    def training() -> bool:
        opened = open_store(f"file://{store}")
        records = (run_records.read_step(opened, run_id, "fine_tuning") for run_id in run_records.run_ids(opened))
        return any(record and record.progress and record.progress.total > 1 for record in records)

    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with cli.started("run", recipe, MODELMILL_STORE=f"file://{store}", TMPDIR=str(temporary)) as process:
        assert cli.wait_until(training, 60)
        assert len(cli.processes_of(store)) > 1, "the run and its children"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everything in the foreground
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "modelmill: stopped; the same command goes on from the last checkpoint"
    assert "Traceback" not in errors
    assert cli.wait_until(lambda: not cli.processes_of(store))
    assert not list(temporary.iterdir())


def on_a_terminal(*arguments: str | Path, **env: str) -> str:
    """What a command shows on a terminal of 100 columns."""
    controller, terminal = pty.openpty()
    environment = {k: v for k, v in cli.environment(**env).items() if k != "NO_COLOR" or "NO_COLOR" in env}
    with subprocess.Popen(
        [*cli.COMMAND, *map(str, arguments)],
        cwd=cli.ROOT,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ):
        os.close(terminal)
        shown = b""
        try:
            while data := os.read(controller, 65536):
                shown += data
        except OSError:  # how Linux says that the other side is closed
            pass
    os.close(controller)
    return shown.decode()


def test_a_terminal_shows_bars_with_colours_and_no_color_is_kept(table_run: Finished) -> None:
    command = ("run", table_run.recipe, "--store", f"file://{table_run.store}")
    shown = on_a_terminal(*command)
    assert "━" in shown
    assert f"{ESCAPE}36m" in shown, "reused is cyan"
    plain = on_a_terminal(*command, NO_COLOR="1")
    assert "━" in plain
    assert not re.search(r"\x1b\[[0-9;]*[349][0-7]", plain), "bold and cursor movement only, no colour"


def test_elsewhere_it_prints_plain_lines_and_the_table(table_run: Finished) -> None:
    done = cli.modelmill("run", table_run.recipe, "--store", f"file://{table_run.store}")
    assert ESCAPE not in done.stdout + done.stderr
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}
    assert rows["data_validation"] == rows["registration"] == "reused"
    assert "model   tiny-table version 1 @champion" in done.stdout
    report = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("report"))
    assert Path(report).is_file()
