"""A shard of conversations or preferences, as the files of a corpus."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelmill.corpus.text import encoding, given_tokenizer
from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.data import shards
from tests.chat_models import CHATML, write_chat_model


def encoded(folder: Path, rows: list[dict[str, Any]], source: str, **pairs: Any) -> tuple[dict[str, Path], Any]:
    folder.mkdir(exist_ok=True)
    model = write_chat_model(folder / "model", CHATML, eos_token="<|im_end|>")
    given_tokenizer.copy(model, folder / "tokenizer")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (shard,) = shards.find(str(folder / "rows.jsonl"), "jsonl")
    settings = LanguagePreprocessing.model_validate(
        {
            "sequence_length": 128,
            "validation": 0.2,
            "test": 0.4,
            "tokenizer": {"from": str(model)},
            "pairs": {"from": source, "framing": "chat", **pairs},
        }
    )
    return encoding.encode(shard, shard.tag, settings, folder / "tokenizer", folder / "encoded")


def chat(number: int, weight: float | None = None) -> dict[str, Any]:
    answer = {"role": "assistant", "content": f"Answer {number}."}
    return {
        "messages": [
            {"role": "user", "content": f"Question {number}?"},
            answer if weight is None else {**answer, "weight": weight},
            {"role": "user", "content": "And then?"},
            {"role": "assistant", "content": "Nothing."},
        ]
    }


@pytest.mark.parametrize("weight", [None, 0.5])
def test_conversations_have_weights_only_where_data_has_and_held_out_ones_are_legible(
    weight: float | None, tmp_path: Path
) -> None:
    files, counts = encoded(tmp_path, [chat(n, weight) for n in range(20)], "messages")
    assert counts["train"]["pairs"] == counts["train"]["conversations"] > 3
    assert ("train/pairs.weights.npy" in files) == (weight is not None)
    if weight is not None:
        weights, learned = (np.load(files[f"train/pairs.{kind}.npy"]) for kind in ("weights", "learned"))
        assert set(weights.tolist()) == {0.0, 0.5, 1.0} and ((weights > 0) == learned).all()
    lines = [json.loads(line) for line in files["test/pairs.conversations.jsonl"].read_text().splitlines()]
    assert len(lines) == counts["test"]["pairs"] and "train/pairs.conversations.jsonl" not in files
    _tokens, offsets, learned = (np.load(files[f"test/pairs.{kind}.npy"]) for kind in ("tokens", "offsets", "learned"))
    examples = [learned[a:b].sum() for a, b in itertools.pairwise(offsets) if learned[a:b].any()]
    for line, size in zip(lines, examples, strict=True):
        assert line["messages"][0]["content"] == f"Question {line['row']}?" and line["tools"] == []
        assert [number for number, _ in line["learned"]] == [1, 3] and sum(n for _, n in line["learned"]) == size


def test_preferences_have_sides(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n}?", "chosen": "Yes.", "rejected": "No idea."} for n in range(20)]
    files, counts = encoded(tmp_path, rows, "preferences")
    tokens, offsets, learned, sides = (
        np.load(files[f"train/pairs.{kind}.npy"]) for kind in ("tokens", "offsets", "learned", "sides")
    )
    assert len(tokens) == len(learned) == len(sides) and "train/pairs.weights.npy" not in files
    found = [sides[a:b].tolist() for a, b in itertools.pairwise(offsets) if sides[a:b].any()]
    assert len(found) == counts["train"]["pairs"] > 3
    assert all(one == sorted(one) and set(one) == {0, 1, 2} for one in found)
    assert ((sides > 0) == learned).all()
    line = json.loads(files["test/pairs.conversations.jsonl"].read_text().splitlines()[0])
    assert line["chosen"] == [{"role": "assistant", "content": "Yes."}] and line["messages"][0]["role"] == "user"


def test_held_out_rows_say_where_they_are_from(tmp_path: Path) -> None:
    sources = ["forum", "wiki", None, "", "a text " * 20, "two\nlines"]
    rows = [{**chat(n), "origin": sources[n % 6]} for n in range(60)]
    said, _ = encoded(tmp_path / "chats", rows, "messages", columns={"source": "origin"})
    rows = [{"prompt": f"Q {n}?", "chosen": "Yes.", "rejected": "No.", "source": n % 3} for n in range(60)]
    answered, _ = encoded(tmp_path / "answers", rows, "preferences")
    for files, wanted in ((said, ["forum", "wiki", None, None, None, None]), (answered, ["0", "1", "2"])):
        lines = [json.loads(line) for line in files["test/pairs.conversations.jsonl"].read_text().splitlines()]
        assert [line.get("source") for line in lines] == [wanted[line["row"] % len(wanted)] for line in lines]
        assert {line.get("source") for line in lines} == set(wanted)
