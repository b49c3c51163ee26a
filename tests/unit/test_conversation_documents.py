"""Conversations as documents of the corpus: their text, their split, and the rows that are left out."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelmill.core.errors import UserError
from modelmill.corpus.split import split_of
from modelmill.corpus.text import documents
from modelmill.corpus.text.conversations.conversation import Conversation, Preference
from modelmill.corpus.text.hygiene.rules import REASONS
from modelmill.corpus.text.hygiene.scan import FILE, KEPT, Scanned, scan
from modelmill.corpus.text.settings import LanguagePreprocessing
from modelmill.data import shards
from modelmill.data.shard import Shard
from modelmill.recipe import Recipe, from_json, parse, to_json

RECIPE = Path(__file__).parents[2] / "recipes" / "smollm2-docstrings.yaml"


def said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def chat(prompt: str, answer: str = "b") -> dict[str, Any]:
    return {"messages": [said("system", "S"), said("user", prompt), said("assistant", answer)]}


def preparation(source: str = "messages", **changes: Any) -> LanguagePreprocessing:
    pairs = {"from": source, "framing": "chat", **changes.pop("pairs", {})}
    fractions = {"validation": 0.3, "test": 0.3}
    return LanguagePreprocessing.model_validate({"tokenizer": {"from": "m"}, "pairs": pairs, **fractions, **changes})


def shard_of(folder: Path, rows: list[dict[str, Any]]) -> Shard:
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (shard,) = shards.find(str(folder / "a.jsonl"), "auto")
    return shard


def read(folder: Path, rows: list[dict[str, Any]], settings: LanguagePreprocessing) -> list[documents.Document]:
    shard = shard_of(folder, rows)
    return list(documents.read(shard, shard.tag, settings))


def test_a_document_is_what_the_messages_say(tmp_path: Path) -> None:
    call = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": "x"}}]}
    row = {"messages": [said("user", "a"), call, said("tool", "c"), said("assistant", "d")]}
    (document,) = read(tmp_path, [row], preparation())
    assert (document.text, document.pairs) == ("a\nc\nd", [])
    (example,) = document.conversations
    assert isinstance(example, Conversation)
    assert [message["role"] for message in example.messages] == ["user", "assistant", "tool", "assistant"]


def test_equal_prompts_share_their_split(tmp_path: Path) -> None:
    settings = preparation()
    found = read(tmp_path, [chat(f"q{n % 20}", f"answer {n}") for n in range(60)], settings)
    assert [document.split for document in found] == [split_of(f"q{n % 20}", settings) for n in range(60)]
    assert {document.split for document in found} == {"train", "validation", "test"}
    rows = [{**chat("q", f"answer {n}"), "who": n} for n in range(20)]
    by_column = preparation(split_by="who")
    assert [d.split for d in read(tmp_path, rows, by_column)] == [split_of(str(n), by_column) for n in range(20)]


def test_what_is_held_out_says_what_the_split_goes_by() -> None:
    assert preparation().held_out["preprocessing.split_by"] == "the user's first message"
    assert preparation(split_by="who").held_out["preprocessing.split_by"] == "who"


def test_hygiene_mends_what_is_said_and_nothing_else(tmp_path: Path) -> None:
    secret, mail = "AKIAABCDEFGHIJKLMNOP", "a@b.example"
    call = {"id": secret, "name": "f", "arguments": {"to": [mail]}}
    row = {"messages": [said("user", mail), {**said("assistant", secret), "tool_calls": [call]}]}
    settings = preparation(hygiene={"redact": ["emails", "secrets"]})
    (document,) = read(tmp_path, [row], settings)
    (example,) = document.conversations
    assert isinstance(example, Conversation)
    function = {"name": "f", "arguments": {"to": ["<email>"]}}
    calls = [{"id": secret, "type": "function", "function": function}]
    assert example.messages == [said("user", "<email>"), {**said("assistant", "<secret>"), "tool_calls": calls}]
    assert (document.text, document.changes) == ("<email>\n<secret>", (0, 1, 1))
    assert document.split == split_of(mail, settings)


def test_a_malformed_row_stops_the_run_or_is_left_out(tmp_path: Path) -> None:
    rows = [chat("a"), {"messages": [said("user", "a")]}, chat("c")]
    with pytest.raises(
        UserError, match=r"^preprocessing\.pairs\.from: messages: a\.jsonl row 2: messages: there is no"
    ):
        read(tmp_path, rows, preparation())
    found = read(tmp_path, rows, preparation(pairs={"malformed": "leave_out"}))
    assert [(document.row, document.problem) for document in found] == [(0, ""), (1, "malformed"), (2, "")]


def test_equal_answers_are_dropped_or_refused(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "chosen": "a", "rejected": rejected} for rejected in ("b", "a")]
    found = read(tmp_path, rows, preparation("preferences"))
    assert found[0].conversations == [
        Preference([said("user", "q")], [said("assistant", "a")], [said("assistant", "b")])
    ]
    assert (found[0].text, found[1].problem) == ("q\na\nb", "equal_answers")
    with pytest.raises(UserError, match=r"^preprocessing\.pairs\.equal: refuse: a\.jsonl row 2: chosen and rejected"):
        read(tmp_path, rows, preparation("preferences", pairs={"equal": "refuse"}))


def test_rows_that_are_left_out_are_scanned_as_such(tmp_path: Path) -> None:
    rows = [chat("a"), {"messages": []}, chat("c")]
    shard = shard_of(tmp_path, rows)
    settings = preparation(pairs={"malformed": "leave_out"})
    found = Scanned.load(scan(shard, shard.tag, settings, tmp_path / "out")[FILE])
    assert found.reasons.tolist() == [KEPT, REASONS.index("malformed"), KEPT]
    left_out = frozenset({1})
    assert [document.row for document in documents.read(shard, shard.tag, settings, left_out)] == [0, 2]


def test_columns_have_the_names_that_the_recipe_gives_them(tmp_path: Path) -> None:
    rows = [{"chat": chat("a")["messages"], "functions": [{"name": "f"}]}]
    (document,) = read(tmp_path, rows, preparation(pairs={"columns": {"messages": "chat", "tools": "functions"}}))
    assert document.conversations[0].tools == [{"name": "f"}]
    with pytest.raises(
        UserError, match=r"messages: a\.jsonl has no column 'messages'; its columns are chat, functions;"
    ):
        read(tmp_path, rows, preparation())


def test_an_optional_column_that_no_shard_has_is_refused(tmp_path: Path) -> None:
    named = preparation(pairs={"columns": {"tools": "functions"}})
    with pytest.raises(UserError, match=r"pairs\.columns: tools: no shard has a column 'functions'; the columns are"):
        read(tmp_path, [chat("a")], named)
    # A shard may lack it where another has it.
    with_tools, without = tmp_path / "with", tmp_path / "without"
    with_tools.mkdir()
    without.mkdir()
    table, _ = shards.read(shard_of(with_tools, [{**chat("a"), "functions": [{"name": "f"}]}]))
    shard = shard_of(without, [chat("a")])._replace(schema=table.schema)
    (document,) = documents.read(shard, shard.tag, named)
    assert document.conversations[0].tools == []


def recipe_of(pairs: dict[str, Any]) -> Recipe:
    document = yaml.safe_load(RECIPE.read_text())
    document["preprocessing"]["pairs"] = pairs
    return parse(document, "recipe")


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"from": "messages"}, "pairs: from: messages needs framing: chat"),
    ({"from": "messages", "framing": "chat", "columns": {"prompt": "q"}}, "columns: from: messages has no 'prompt'"),
    (
        {"from": "preferences", "framing": "chat", "too_long": "split"},
        "pairs: too_long: split is for conversations, and from: preferences has none",
    ),
    ({"from": "labelled", "framing": "chat", "too_long": "split"}, "too_long: split is for conversations"),
    ({"from": "python_docstrings", "too_long": "split"}, "too_long: split is for conversations"),
    ({"from": "columns", "columns": {"prompt": "q"}}, "columns: from: columns has none to name"),
]


@pytest.mark.parametrize(("pairs", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_settings_that_do_not_fit_are_refused(pairs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe_of(pairs)


def test_columns_of_messages_are_read_as_their_json() -> None:
    recipe = recipe_of({"from": "messages", "framing": "chat", "columns": {"messages": "chat"}})
    assert recipe.data.columns == {"chat": "text", "tools": "text"}
    assert from_json(to_json(recipe)) == recipe
