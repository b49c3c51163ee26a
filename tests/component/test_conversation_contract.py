"""Conversations through data validation: their features in a suite, malformed rows, drafts and shuffled roles."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelmill.components.data_validation import contract, conversations
from modelmill.components.data_validation.component import shard_scan
from modelmill.components.data_validation.contract import ConversationRows, Judgement
from modelmill.components.data_validation.conversations import Measuring
from modelmill.components.data_validation.draft import candidates
from modelmill.components.data_validation.profile import Profile
from modelmill.components.data_validation.shard_states import ShardStates
from modelmill.core.errors import UserError
from modelmill.data import shards
from modelmill.recipe.sections import Quarantine
from modelmill.store import open_store
from tests import cli
from tests.component.steps import Steps
from tests.recipes import language_recipe

Row = dict[str, Any]
MESSAGES = ConversationRows("messages")
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}


def expect(type_: str, **kwargs: Any) -> Row:
    return {"type": f"expect_{type_}", "kwargs": kwargs}


def said(role: str, text: str | None, **more: Any) -> Row:
    return {"role": role, "content": text, **more}


def dialogue(number: int, rounds: int = 2) -> Row:
    turns = [said("system", "Be kind.")]
    for place in range(rounds):
        turns += [said("user", f"Question {number}.{place}?"), said("assistant", f"Answer {number}.{place}.")]
    return {"messages": turns}


def calling(number: int, arguments: str = '{"city": "Ulm"}') -> Row:
    call = {**CALL, "function": {"name": "weather", "arguments": arguments}}
    turns = [said("system", "Be kind."), said("user", f"Weather {number}?")]
    turns += [said("assistant", None, tool_calls=[call]), said("tool", "rain", tool_call_id="c1")]
    return {"messages": [*turns, said("assistant", "Wet.")]}


def write(file: Path, rows: list[Row]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def judge(data: Path, *suite: Row, held: ConversationRows | None = MESSAGES, **more: Any) -> Judgement:
    document = {"name": "suite", "expectations": list(suite)}
    found = shards.find(str(data), "auto")
    return contract.judge(str(data), found, document, lambda *_: None, conversations=held, **more)


ORDER = expect("column_values_to_match_regex", column="roles", regex="^system( user assistant)+$")
PARSES = expect("column_values_to_be_in_set", column="parses", value_set=[True])


def test_a_suite_speaks_of_turns_roles_and_repeated_prompts(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [dialogue(n, rounds=1 + n % 3) for n in range(6)])
    write(tmp_path / "b.jsonl", [dialogue(n) for n in (6, 3, 8)])
    judged = judge(
        tmp_path,
        PARSES,
        ORDER,
        expect("column_values_to_be_between", column="turns", min_value=3, max_value=5),
        expect("column_values_to_be_unique", column="prompt_digest"),
        expect("column_max_to_be_between", column="longest_turn_tokens", max_value=4),
    )
    assert [one["success"] for one in judged.result["results"]] == [True, True, False, False, True]
    assert "2 of 9 rows: a.jsonl:3=7, a.jsonl:6=7" in judged.findings()[2][2]
    # The rows with one prompt are in two shards.
    assert "2 of 9 rows: a.jsonl:4=" in judged.findings()[3][2] and "b.jsonl:2=" in judged.findings()[3][2]
    assert judged.dataset.info["conversations"] == "messages" and judged.dataset.info["columns"]["turns"] == "int64"


def test_nested_parquet_has_the_features_of_json_lines(tmp_path: Path) -> None:
    rows = [dialogue(1), calling(2), {**dialogue(3), "tools": None}]
    write(tmp_path / "lines" / "a.jsonl", rows)
    (tmp_path / "columns").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "columns" / "a.parquet")
    suite = (PARSES, expect("column_sum_to_be_between", column="tool_calls_that_parse", min_value=1, max_value=1))
    lines, columns = (judge(tmp_path / name, *suite, profile=True) for name in ("lines", "columns"))
    assert lines.success and columns.success
    assert lines.profile is not None and columns.profile is not None
    for name in MESSAGES.added:
        assert lines.profile.columns[name].to_json() == columns.profile.columns[name].to_json()


def bad_rows() -> list[Row]:
    unknown = {"messages": [said("user", "a"), said("bot", "b")]}
    return [dialogue(1), unknown, dialogue(2), calling(3, arguments="{"), {"messages": None}]


def test_malformed_rows_are_kept_with_what_can_be_measured_where_data_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", bad_rows())
    pair = {"column_A": "tool_calls", "column_B": "tool_calls_that_parse"}
    judged = judge(tmp_path, PARSES, ORDER, expect("column_pair_values_to_be_equal", **pair))
    assert [(one["row"], one["why"].split(";")[0]) for one in judged.malformed] == [
        (2, "messages: turn 2 has the unknown role 'bot'"),
        (
            4,
            "messages: turn 3: tool call 1 (weather): arguments: '{' is not valid JSON (Expecting property name"
            " enclosed in double quotes: line 1 column 2 (char 1))",
        ),
        (5, "messages is missing or null"),
    ]
    assert judged.malformed[0]["sample"].startswith('{"messages": [{"role": "user", "content": "a"')
    assert [finding.split(":")[0] for _, _, finding in judged.findings()] == [
        "3 of 5 rows",
        "2 of 5 rows",
        "1 of 5 rows",
    ]


def test_malformed_rows_are_refused_with_file_row_and_setting(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", bad_rows())
    with pytest.raises(UserError) as refused:
        judge(tmp_path, PARSES, held=MESSAGES._replace(malformed="refuse"))
    assert str(refused.value) == (
        f"{tmp_path}/a.jsonl: row 2: messages: turn 2 has the unknown role 'bot'; roles are system, developer, user, "
        "assistant, tool (3 of 5 rows are malformed); correct the data or preprocessing.pairs.from, now messages, or "
        "leave such rows out: --set preprocessing.pairs.malformed=leave_out"
    )


def test_a_shard_with_malformed_rows_is_quarantined_with_samples(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", bad_rows())
    write(tmp_path / "b.jsonl", [dialogue(7), dialogue(8)])
    held = MESSAGES._replace(malformed="refuse")
    judged = judge(tmp_path, PARSES, held=held, policy=Quarantine(shards=1, samples=2))
    assert judged.success and [entry.path for entry in judged.dataset.entries] == ["b.jsonl"]
    (left_out,) = (one.to_json() for one in judged.left_out)
    assert left_out["rows"] == 5 and left_out["why"].startswith("row 2: messages: turn 2 has the unknown role 'bot'")
    assert [sample["row"] for sample in left_out["samples"]] == [2, 4]
    assert '"content": "a"' in left_out["samples"][0]["value"]
    with pytest.raises(contract.Quarantined, match=r"have 5 rows, data\.quarantine\.rows allows 4"):
        judge(tmp_path, PARSES, held=held, policy=Quarantine(shards=1, rows=4))


def test_malformed_rows_are_left_out_where_the_recipe_says_so(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", bad_rows())
    judged = judge(tmp_path, PARSES, ORDER, held=MESSAGES._replace(malformed="leave_out"))
    assert judged.success and judged.dataset.info["rows"] == 2
    assert [(one["shard"], one["row"]) for one in judged.malformed] == [("a.jsonl", 2), ("a.jsonl", 4), ("a.jsonl", 5)]
    long = judge(
        tmp_path,
        expect("column_values_to_be_between", column="turns", max_value=3),
        held=MESSAGES._replace(malformed="leave_out"),
    )
    assert long.explain().endswith("2 of 2 rows: a.jsonl:1=5, a.jsonl:3=5")


def test_a_state_is_reused_for_the_same_format_alone(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.jsonl", bad_rows())
    states = ShardStates(open_store(f"file://{tmp_path}/store"), {}, tmp_path / "scratch")
    rows = expect("table_row_count_to_be_between", min_value=1)
    known = [judge(tmp_path / "data", rows, states=states, held=held) for held in (MESSAGES, MESSAGES, None)]
    assert [one.scanned for one in known] == [1, 0, 1]
    assert known[0].malformed == known[1].malformed != known[2].malformed == []
    dropped = judge(tmp_path / "data", rows, states=states, held=MESSAGES._replace(malformed="leave_out"))
    assert (dropped.scanned, dropped.dataset.info["rows"]) == (1, 2)


def test_a_column_with_the_name_of_a_feature_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{**dialogue(1), "turns": 5}])
    with pytest.raises(UserError, match=r"a\.jsonl: column 'turns' is what is measured of conversations; rename it"):
        judge(tmp_path, PARSES)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"dialog": dialogue(1)["messages"]}])
    with pytest.raises(UserError, match="row 1: there is no column 'messages'; columns are dialog; correct"):
        judge(tmp_path, PARSES, held=MESSAGES._replace(malformed="refuse"))
    assert judge(tmp_path, PARSES, held=MESSAGES._replace(columns=(("messages", "dialog"),))).success


def test_a_prompt_in_two_splits_breaks_the_contract(tmp_path: Path) -> None:
    determined = expect("column_pair_values_a_to_determine_b", column_A="prompt_digest", column_B="split")
    write(tmp_path / "a.jsonl", [{**dialogue(n), "split": "train"} for n in (1, 2, 2)])
    write(tmp_path / "b.jsonl", [{**dialogue(n), "split": "test"} for n in (3, 4)])
    assert judge(tmp_path, determined).success
    write(tmp_path / "b.jsonl", [{**dialogue(n), "split": "test"} for n in (3, 2)])
    judged = judge(tmp_path, determined)
    assert judged.explain().count(".jsonl:") == 3 and "3 of 5 rows: a.jsonl:2=" in judged.explain()
    assert "must have the same" in judged.data_docs().decode()


# --- the step


def steps(folder: Path, **pairs: Any) -> Steps:
    recipe = language_recipe(
        folder,
        folder / "data",
        {"name": "chats", "expectations": [PARSES, ORDER]},
        preprocessing__split_by=None,
        preprocessing__tokenizer={"from": str(folder / "chat")},
        preprocessing__pairs={"from": "messages", "framing": "chat", **pairs},
    )
    return Steps(recipe, folder / "work")


def test_the_step_adds_the_features_and_lists_the_rows_that_it_left_out(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.jsonl", bad_rows())
    at = steps(tmp_path, malformed="leave_out")
    scanned = shard_scan.python_func(recipe=at.key, store=at.store.uri, group=0, groups=1)
    made = at.call("data_validation", ["dataset", "validation"])
    record = at.record("data_validation")
    assert scanned == 1 and record.metrics["new_shards"] == 0
    assert record.headline == "2 rows, 2/2 expectations, 3 rows that are malformed left out"
    assert made["dataset"].info["columns"]["roles"] == "string"
    assert made["dataset"].info["columns"]["messages"] == "string", "as JSON"
    listed = cli.modelmill("data", "quarantine", "--store", at.store.uri)
    assert listed.returncode == 0, listed.stderr
    first, *_, last = listed.stdout.splitlines()
    assert first.startswith("a.jsonl row 2  messages: turn 2 has the unknown role 'bot'; roles are system, ")
    assert last == "run 1: 0 shards quarantined, 3 rows that are malformed left out"


def test_the_step_refuses_malformed_rows_and_shuffled_roles(tmp_path: Path) -> None:
    write(tmp_path / "data" / "a.jsonl", bad_rows())
    outputs = ["dataset", "validation"]
    code, message = steps(tmp_path).fails("data_validation", outputs)
    assert code == 2 and "a.jsonl: row 2: messages: turn 2 has the unknown role 'bot'" in message
    write(tmp_path / "data" / "a.jsonl", [dialogue(1), shuffled(dialogue(2), random.Random(0))])
    code, message = steps(tmp_path).fails("data_validation", outputs)
    assert code == 3 and "expect_column_values_to_match_regex(roles) 1 of 2 rows: a.jsonl:2=" in message


# --- drafts


def shuffled(row: Row, random_: random.Random) -> Row:
    """The row with its roles in another order."""
    roles = [turn["role"] for turn in row["messages"]]
    while roles == [turn["role"] for turn in row["messages"]]:
        random_.shuffle(roles)
    return {"messages": [{**turn, "role": role} for turn, role in zip(row["messages"], roles, strict=True)]}


def test_a_drafted_suite_is_kept_and_the_same_suite_fails_shuffled_roles(tmp_path: Path) -> None:
    rows = [dialogue(n, rounds=1 + n % 3) for n in range(12)]
    good = write(tmp_path / "good" / "a.jsonl", rows).parent
    random_ = random.Random(0)
    bad = write(tmp_path / "bad" / "a.jsonl", [*rows[:10], *(shuffled(row, random_) for row in rows[10:])]).parent
    suite = tmp_path / "suite.json"
    drafted = cli.modelmill("data", "profile", good, "-o", suite)
    assert drafted.returncode == 0, drafted.stderr
    assert "the rows look like preprocessing.pairs.from: messages\n" in drafted.stdout
    kept = cli.modelmill("data", "validate", good, "--suite", suite)
    assert kept.returncode == 0, kept.stdout
    broken = cli.modelmill("data", "validate", bad, "--suite", suite)
    assert broken.returncode == 3
    assert "bad  expect_column_values_to_match_regex(roles)  2 of 12 rows: a.jsonl:11=" in broken.stdout


def drafted_from(folder: Path, rows: list[Row], held: ConversationRows = MESSAGES) -> dict[tuple[str, str], Row]:
    """The drafted expectations on features, by type and column."""
    write(folder / "a.jsonl", rows)
    found = shards.find(str(folder), "auto")
    suite = contract.draft(str(folder), found, "mine", lambda *_: None, held).suite
    assert contract.judge(str(folder), found, suite, lambda *_: None, conversations=held).success
    kwargs = [(one["type"].removeprefix("expect_column_"), one["kwargs"]) for one in suite["expectations"]]
    return {(type_, given.get("column", given.get("column_A", ""))): given for type_, given in kwargs}


def test_a_draft_says_the_order_of_roles_no_looser_than_the_data_needs() -> None:
    def order(*rows: Row) -> str:
        profile = Profile()
        profile.add(Measuring(MESSAGES, "a").add(pa.Table.from_pylist(list(rows))))
        (found,) = (one for one in candidates(profile, MESSAGES) if one["kwargs"].get("column") == "roles")
        return str(found["kwargs"]["regex"])

    without = {"messages": dialogue(4)["messages"][1:]}
    assert order(dialogue(1, rounds=1), dialogue(2, rounds=1)) == "^system user assistant$"
    assert order(dialogue(1, rounds=1), dialogue(2)) == "^system user assistant( user assistant)*$"
    assert order(dialogue(1), without) == "^(system )?user assistant( user assistant)*$"
    assert order(calling(1), dialogue(2, rounds=1)) == "^system user( assistant( tool)+)* assistant$"


def test_a_draft_of_data_with_flaws_asks_for_most_rows(tmp_path: Path) -> None:
    rows = [dialogue(n) for n in range(8)] + [dialogue(0), {"messages": [said("assistant", "b"), said("user", "a")]}]
    said_of = drafted_from(tmp_path, [*rows, {"messages": None}])
    assert said_of[("values_to_be_in_set", "parses")] == {"column": "parses", "value_set": [True], "mostly": 0.9}
    assert said_of[("values_to_match_regex", "roles")]["mostly"] == 0.9
    assert said_of[("values_to_be_unique", "prompt_digest")]["mostly"] == 0.8
    assert said_of[("values_to_be_in_set", "last_role")]["value_set"] == ["assistant", "user"]
    assert said_of[("pair_values_to_be_equal", "tool_calls")]["column_B"] == "tool_calls_that_parse"


@pytest.mark.parametrize(
    ("row", "format", "columns"),
    [
        ({"chat": dialogue(1)["messages"]}, "messages", {"messages": "chat"}),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "sharegpt", {}),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preferences", {}),
        ({"prompt": "a", "completion": "b", "label": True}, "labelled", {}),
        ({"instruction": "a", "input": "", "output": "b"}, "alpaca", {}),
    ],
)
def test_the_profile_says_which_format_the_rows_have(row: Row, format: str, columns: Row, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [row])
    seen = conversations.detect(shards.find(str(tmp_path), "auto"))
    assert seen is not None and (seen.format, seen.columns) == (format, columns)
    held = conversations.of_format(seen)
    assert held is not None
    drafted = contract.draft(str(tmp_path), shards.find(str(tmp_path), "auto"), "mine", lambda *_: None, held)
    assert drafted.profile.columns["roles"].values.counts == {"user assistant": 1} or format == "messages"
    assert drafted.malformed == []


def test_options_say_the_format_and_wrong_ones_are_one_line(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [{"dialog": dialogue(1)["messages"], "chosen": "a", "rejected": "b"}])
    given = ("--pairs-from", "messages", "--pairs-column", "messages=dialog")
    done = cli.modelmill("data", "profile", tmp_path / "a.jsonl", *given, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairs"] == {"from": "messages", "columns": {"messages": "dialog"}}
    for wrong, why in (
        (("--pairs-from", "chatml"), "--pairs-from chatml: messages, sharegpt, alpaca, preferences, labelled or none"),
        (("--pairs-from", "messages", "--pairs-column", "text=a"), "write NAME=COLUMN, where NAME is messages, tools"),
        (("--pairs-column", "messages=a"), "--pairs-column messages=a: needs --pairs-from"),
    ):
        done = cli.modelmill("data", "profile", tmp_path / "a.jsonl", *wrong)
        assert done.returncode == 2 and why in done.stderr and len(done.stderr.splitlines()) == 1
