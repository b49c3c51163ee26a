"""A registered version that is asked: by `modelmill predict`, and by MLflow's own server."""

import contextlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import cli
from tests.mlflow_server import free_port
from tests.pipeline.conftest import Finished, finish
from tests.recipes import table_recipe, write_table
from tests.server_process import serving

ROWS = [{"width": 1.1, "height": 2.2}, {"width": 3.5, "height": 1.0, "id": 7}]
LABELS = ["small", "big"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A store of this module's own, in which tests change a file and put it right again."""
    folder = tmp_path_factory.mktemp("own")
    return finish(table_recipe(folder, write_table(folder / "data")))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


def ask(run: Finished, *arguments: str | Path, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return cli.modelmill("predict", *arguments, stdin=stdin, MODELMILL_STORE=f"file://{run.store}", **env)


def labels(lines: str) -> list[str]:
    return [json.loads(line)["label"] for line in lines.splitlines()]


def test_rows_in_answers_out(table_run: Finished, rows: Path, tmp_path: Path) -> None:
    for name in ("tiny-table", "tiny-table@champion", "tiny-table/1", "models:/tiny-table@champion"):
        shown = ask(table_run, name, rows)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert labels(shown.stdout) == LABELS
    assert all(0.5 <= json.loads(line)["probability"] <= 1 for line in shown.stdout.splitlines())
    output = tmp_path / "answers.jsonl"
    written = ask(table_run, "tiny-table", rows, "--output", output)
    assert written.stdout == f"{output}  2 rows by tiny-table version 1 @champion\n"
    assert output.read_text() == shown.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["answers.jsonl", "rows.jsonl"]


def test_one_row_from_standard_input(table_run: Finished) -> None:
    shown = ask(table_run, "tiny-table", "-", stdin=json.dumps(ROWS[1]))
    assert labels(shown.stdout) == ["big"]
    as_json = json.loads(ask(table_run, "tiny-table", "-", "--json", stdin=json.dumps(ROWS[0])).stdout)
    assert (as_json["model"], as_json["version"], as_json["rows"]) == ("tiny-table", "1", 1)
    assert [answer["label"] for answer in as_json["predictions"]] == ["small"]


def test_many_rows_keep_their_order_and_empty_lines_are_none(table_run: Finished, tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    file.write_text("\ufeff" + "".join(json.dumps(ROWS[number % 2]) + "\n\n" for number in range(1001)))
    shown = ask(table_run, "tiny-table", file)
    assert labels(shown.stdout) == [LABELS[number % 2] for number in range(1001)]


def test_csv_is_answered_as_json_lines_are(table_run: Finished, rows: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes("\ufeffid,width,height,kind\r\n1,1.1,2.2,\r\n\r\n7,3.5,1,\r\n".encode())
    assert ask(table_run, "tiny-table", file).stdout == ask(table_run, "tiny-table", rows).stdout


def test_a_language_model_completes(language_run: Finished) -> None:
    asked = json.dumps({"prompt": "def area(self):\n    return 1\n"})
    # Set so late, it takes a new process: what its imports print would show.
    shown = ask(language_run, "tiny-lm", "-", stdin=asked, PYTHONHASHSEED="0")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert isinstance(json.loads(shown.stdout)["completion"], str)


GOOD = json.dumps(ROWS[0])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([GOOD, "{"], "line 2: not JSON"),
        ([GOOD, "", "[1, 2]"], "line 3: not a JSON object"),
        ([GOOD, '{"width": 1}'], "line 2: no 'height' in it"),
        ([GOOD, '{"width": "1", "height": 2}'], "line 2: 'width' is \"1\", not a number"),
        ([GOOD, '{"width": null, "height": 2}'], "line 2: 'width' is null, not a number"),
        ([GOOD, '{"width": true, "height": 2}'], "line 2: 'width' is true, not a number"),
        ([GOOD, '{"width": NaN, "height": 2}'], "line 2: 'width' is NaN, not a number"),
        ([GOOD, '{"width": 1e999, "height": 2}'], "line 2: 'width' is Infinity, not a number"),
        (["[" * 100_000], "line 1: not JSON"),
        (["", ""], "no rows in it"),
    ],
)
def test_a_line_that_cannot_be_answered_is_named_before_any_is(
    table_run: Finished, tmp_path: Path, lines: list[str], said: str
) -> None:
    file, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    file.write_text("\n".join(lines))
    done = ask(table_run, "tiny-table", file, "--output", output)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{file}: {said}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not output.exists()


def test_bytes_that_are_no_text_are_named(table_run: Finished, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(GOOD.encode() + b'\n{"width": "\xff"}\n')
    done = ask(table_run, "tiny-table", tmp_path / "rows.jsonl")
    assert done.returncode == 2
    assert "line 2: not UTF-8" in done.stderr and "Traceback" not in done.stderr


def test_files_that_cannot_be_used_are_named(table_run: Finished, rows: Path, tmp_path: Path) -> None:
    gone = ask(table_run, "tiny-table", tmp_path / "gone.jsonl")
    assert gone.returncode == 2 and "gone.jsonl: cannot be read (No such file" in gone.stderr
    folder = ask(table_run, "tiny-table", tmp_path)
    assert folder.returncode == 2 and "cannot be read (Is a directory)" in folder.stderr
    nowhere = ask(table_run, "tiny-table", rows, "--output", tmp_path / "no" / "answers.jsonl")
    assert nowhere.returncode == 2 and "cannot be written (No such file" in nowhere.stderr
    for done in (gone, folder, nowhere):
        assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_what_does_not_exist_is_one_line(table_run: Finished, rows: Path) -> None:
    for name in ("nobody", "tiny-table/9", "tiny-table@staging"):
        done = ask(table_run, name, rows)
        assert done.returncode == 2
        assert "there are" in done.stderr and len(done.stderr.splitlines()) == 1


@contextlib.contextmanager
def changed(file: Path, data: bytes | None) -> Iterator[None]:
    """The file with other bytes, or removed, until the block ends."""
    before = file.read_bytes() if file.exists() else None
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)
    try:
        yield
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)


def packaged(run: Finished) -> Path:
    (found,) = (run.store / "mlartifacts").rglob("MLmodel")
    return found.parent


def flipped(file: Path) -> bytes:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    return bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "scaler.json", "config.json"])
def test_a_file_with_other_bytes_is_named_and_nothing_is_loaded(own: Finished, rows: Path, name: str) -> None:
    file = packaged(own) / "artifacts" / "model" / name
    with changed(file, flipped(file)):
        done = ask(own, "tiny-table", rows)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"models:/tiny-table/1: artifacts/model/{name} has other bytes than were registered" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with changed(file, None):
        assert f"artifacts/model/{name} is missing" in ask(own, "tiny-table", rows).stderr
    assert ask(own, "tiny-table", rows).returncode == 0


def test_a_script_or_a_way_of_loading_that_was_not_registered_does_not_run(own: Finished, rows: Path) -> None:
    folder, mark = packaged(own), own.store / "it-ran"
    program = f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n".encode()
    script = folder / "serve.py"
    with changed(script, program + script.read_bytes()):
        assert "serve.py has other bytes" in ask(own, "tiny-table", rows).stderr
    (module,) = (folder / "code").glob("*/modelmill/tasks/tabular_classification/network.py")
    with changed(module, program + module.read_bytes()):
        assert "network.py has other bytes than were registered" in ask(own, "tiny-table", rows).stderr
    with changed(module, None):
        assert "network.py is missing" in ask(own, "tiny-table", rows).stderr
    with changed(folder / "code" / "numpy.py", program):
        assert "code/numpy.py was not registered" in ask(own, "tiny-table", rows).stderr
    described = (folder / "MLmodel").read_bytes()
    elsewhere = described.replace(b"mlflow.pyfunc.loaders.code_model", b"evil")
    assert elsewhere != described
    with changed(folder / "evil.py", program), changed(folder / "MLmodel", elsewhere):
        done = ask(own, "tiny-table", rows)
    assert done.returncode == 1 and "MLmodel loads something else" in done.stderr
    without = described.replace(b"    code: code\n", b"")
    assert without != described
    with changed(folder / "MLmodel", without):
        assert "MLmodel loads something else" in ask(own, "tiny-table", rows).stderr
    with changed(folder / "artifacts" / "model" / "extra.json", b"{}"):
        assert "artifacts/model/extra.json was not registered" in ask(own, "tiny-table", rows).stderr
    with changed(folder / "MLmodel", b"{"):
        assert "MLmodel is missing or damaged" in ask(own, "tiny-table", rows).stderr
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["model.pkl", "code/helper.pickle", "weights.pt", "pytorch_model.bin", "scaler.joblib", "notes.txt"]
)
def test_a_pickle_is_refused(own: Finished, rows: Path, name: str) -> None:
    with changed(packaged(own) / name, pickle.dumps({"a": 1})):
        done = ask(own, "tiny-table", rows)
    assert done.returncode == 2
    assert f"{name} is a pickle, which can run code when it is loaded" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_champion_the_newest_verified_version_answers(
    table_run: Finished, rows: Path, tmp_path: Path
) -> None:
    own = Finished(table_run.recipe, table_run.copy(tmp_path), table_run.summary)
    client = cli.registry(own.store)
    second = cli.run_json(own.recipe, own.store, "--set", "fine_tuning.learning_rate=0.9")
    assert second["model"]["version"] == "2", second["stderr"]
    # As if versions had been registered by hand: where the store says who is the champion, MLflow is not asked.
    (own.store / "objects" / "registry" / "tiny-table.json").unlink()
    client.delete_registered_model_alias("tiny-table", "champion")
    answered = json.loads(ask(own, "tiny-table", rows, "--json").stdout)
    assert answered["version"] == "2"
    client.set_model_version_tag("tiny-table", "2", "modelmill.verified", "false")
    assert json.loads(ask(own, "tiny-table", rows, "--json").stdout)["version"] == "1"
    refused = ask(own, "tiny-table/2", rows)
    assert refused.returncode == 2 and "tiny-table version 2: not verified" in refused.stderr
    client.set_model_version_tag("tiny-table", "1", "modelmill.verified", "false")
    nobody = ask(own, "tiny-table", rows)
    assert nobody.returncode == 2
    assert (
        "no version is @champion or verified; there are: tiny-table version 1 @previous, tiny-table version 2"
        in nobody.stderr
    )
    client.set_registered_model_alias("tiny-table", "champion", "1")
    assert "tiny-table version 1 @champion @previous: not verified" in ask(own, "tiny-table", rows).stderr


def test_a_version_of_another_store_names_the_option(table_run: Finished, rows: Path, tmp_path: Path) -> None:
    for name in ("mlflow.db", "mlartifacts"):
        source, target = table_run.store / name, tmp_path / "store" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    done = ask(Finished(table_run.recipe, tmp_path / "store", {}), "tiny-table", rows)
    assert done.returncode == 2
    assert "name the store that it was registered from with --store" in done.stderr


@contextlib.contextmanager
def served(run: Finished, folder: Path) -> Iterator[int]:
    """The registered model behind MLflow's own server, with nothing of Modelmill; its port."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{run.recipe.stem}@champion"]
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        # It starts uvicorn, which is beside this Python.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{run.store}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }

    def answers() -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError):
            return bool(direct().open(f"http://127.0.0.1:{port}/ping", timeout=2).status == 200)
        return False

    with serving([*command, *options], folder, environment, answers, 90):
        yield port


def direct() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def test_mlflow_serves_the_registered_model_over_http(table_run: Finished, tmp_path: Path) -> None:
    with served(table_run, tmp_path) as port:
        asked: dict[str, Any] = {"dataframe_records": [{k: row[k] for k in ("width", "height")} for row in ROWS]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
        )
        answer = json.loads(direct().open(request, timeout=30).read())
    assert [one["label"] for one in answer["predictions"]] == LABELS
