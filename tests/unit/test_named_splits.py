"""Splits that data names itself: which names there are, what is drawn where one is missing, and who reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmill.core.errors import UserError
from modelmill.corpus import in_memory, named_splits, row_notes
from modelmill.corpus.split import split_of
from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.data import shards
from modelmill.recipe import task_packages
from modelmill.recipe.sections import Preparation
from modelmill.tasks.tabular_classification.recipe import TabularPreprocessing
from modelmill.tasks.text_classification.recipe import TextPreprocessing
from modelmill.tasks.translation.recipe import TranslationPreprocessing
from tests import media
from tests.layouts import write_all
from tests.prepared import Prepared, found

NAMED = {"split_from": "fold"}
NAMES = ["train"] * 4 + ["dev", "test"]
FRAMING = {"tokenizer": {"from": "m"}, "pairs": {"from": "messages", "framing": "chat"}}


def write(folder: Path, names: list[Any], rows: int = 60) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(2):
        lines = [{**row(n), "fold": names[n % len(names)]} for n in range(shard, rows, 2)]
        (folder / f"{shard}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def row(number: int) -> dict[str, Any]:
    text = f"number {number} of many"
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]
    return {"text": text, "other": text.upper(), "size": number, "label": "ab"[number // 6 % 2], "messages": messages}


def settled(folder: Path, task: str, settings: Preparation, data: Path) -> tuple[Any, list[Any]]:
    """A step that knows the splits of its data, and the shards."""
    step, validated = Prepared(folder, task, settings).step(), found(data)
    update = {"preprocessing": named_splits.settled(step, validated)}
    step.recipe = step.recipe.model_copy(update=update)
    return step, validated


@pytest.mark.parametrize(
    "settings",
    [
        LanguagePreprocessing.model_validate({**NAMED, "tokenizer": {"vocab_size": 300}, "sequence_length": 16}),
        TextPreprocessing.model_validate({**NAMED, "tokenizer": {"vocab_size": 300}}),
        TabularPreprocessing(**NAMED, features=["size"], label="label"),
        TranslationPreprocessing(**NAMED, source="text", target="other"),
    ],
    ids=["language_modeling", "text_classification", "tabular_classification", "translation"],
)
def test_a_task_takes_the_splits_that_data_names(
    tmp_path: Path, settings: Preparation, request: pytest.FixtureRequest
) -> None:
    task = request.node.callspec.id
    step, validated = settled(tmp_path, task, settings, write(tmp_path / "data", NAMES))
    made = task_packages.preprocessing(task).preprocess(step, validated)
    corpus = made.outputs["corpus"]
    sizes = {
        split: counts.get("documents", counts.get("examples", sum(counts.values())))
        for split, counts in corpus.info["splits"].items()
    }
    assert sizes == {"train": 40, "validation": 10, "test": 10}
    assert corpus.info["held_out"]["preprocessing.split_from"] == "fold"
    assert "preprocessing.test" not in corpus.info["held_out"]


def test_a_conversation_is_in_the_split_that_its_row_names(tmp_path: Path) -> None:
    from modelmill.corpus.text import documents

    settings = LanguagePreprocessing.model_validate({**NAMED, **FRAMING})
    read = [d.split for shard, sha256 in found(write(tmp_path, NAMES)) for d in documents.read(shard, sha256, settings)]
    assert [read.count(split) for split in ("train", "validation", "test")] == [40, 10, 10]


def test_equal_rows_of_two_splits_are_known_as_equal(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines = [{"text": "same", "label": "a", "fold": name} for name in ("train", "test", "val")]
    (tmp_path / "data" / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    step, validated = settled(tmp_path, "text_classification", TextPreprocessing(**NAMED), tmp_path / "data")
    columns = {"preprocessing.text": "text", "preprocessing.label": "label"}
    rows = in_memory.read(step, validated, columns)
    noted = row_notes.note(step, validated, columns)
    assert len(set(rows.ids.tolist())) == 1 and np.array_equal(noted.rows.ids, rows.ids)
    assert rows.splits.tolist() == noted.rows.splits.tolist() == ["train", "test", "validation"]


def test_a_split_that_no_row_names_is_drawn_from_train(tmp_path: Path) -> None:
    data = write(tmp_path / "data", ["Training", "training", "test"], 300)
    step, validated = settled(tmp_path, "text_classification", TextPreprocessing(**NAMED), data)
    assert step.recipe.preprocessing.drawn == {"validation"}
    rows = in_memory.read(step, validated, {"preprocessing.text": "text"})
    named = rows.columns["fold"]
    assert [split == "test" for split in rows.splits] == [name == "test" for name in named]
    # The draw is that of data without names, among the records of train.
    texts, plain = rows.columns["text"], TextPreprocessing()
    drawn = [split_of(json.dumps([text]), plain) == "validation" for text in texts]
    wanted = [one and name != "test" for one, name in zip(drawn, named, strict=True)]
    assert [split == "validation" for split in rows.splits] == wanted and any(wanted)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "holdout"], r"0.jsonl row 31: column 'fold' is 'holdout', not train, validation"),
        (["train", ""], r"row 31: column 'fold' is '', not train"),
        (["train", None], r"row 31: column 'fold' is null"),
        (["test", "val"], r"no row's 'fold' is train"),
    ],
)
def test_a_row_without_a_split_is_refused_by_row(tmp_path: Path, names: list[Any], message: str) -> None:
    first = ["train"] * 60 if names[0] == "train" else ["test"] * 60
    data = write(tmp_path / "data", [*first, names[1]], 61)
    with pytest.raises(UserError, match=f"preprocessing.split_from: .*{message}"):
        settled(tmp_path, "text_classification", TextPreprocessing(**NAMED), data)


def test_shards_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path / "data", NAMES)
    settled(tmp_path, "text_classification", TextPreprocessing(**NAMED), data)
    opened: list[str] = []
    monkeypatch.setattr(named_splits, "_count", lambda shard, *_: opened.append(shard.path) or {"train": {"rows": 1}})
    (data / "2.jsonl").write_text((data / "0.jsonl").read_text().replace("number", "no."))
    settled(tmp_path, "text_classification", TextPreprocessing(**NAMED), data)
    assert opened == ["2.jsonl"]


def test_folders_name_the_splits_of_images(tmp_path: Path) -> None:
    pictures = {f"{split}/cat/{n}.png": media.png(n) for split, n in (("train", 1), ("val", 2), ("test", 3))}
    write_all(tmp_path / "data", pictures)
    listed = shards.find(str(tmp_path / "data"), "auto", "images", layout="image_folder")
    step = Prepared(tmp_path, "image_classification", Preparation(split_from="split")).step()
    validated = [(shard, shards.read(shard)[1]) for shard in listed]
    assert not named_splits.settled(step, validated).drawn
    assert in_memory.read(step, validated, {}).splits.tolist() == ["test", "train", "validation"]


def test_names_and_fractions_exclude_each_other() -> None:
    for name in ("validation", "test"):
        with pytest.raises(ValueError, match=f"split_from and {name} exclude each other: leave out {name}"):
            Preparation(split_from="split", **{name: 0.1})
    settings = Preparation(split_from="split")
    assert Preparation.model_validate(settings.model_dump()) == settings  # as a step reads it
    assert settings.held_out == {
        "preprocessing.split_by": "the whole record",
        "preprocessing.split_from": "split",
    }
    assert "preprocessing.split_from" not in Preparation().held_out
