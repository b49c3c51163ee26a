"""Measures of held-out conversations and preferences, compared with transformers, one conversation at a time."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import RwkvConfig, RwkvForCausalLM

from modelmill.champion.comparison import decide_between
from modelmill.measures import breakdown
from modelmill.store import manifest
from modelmill.tasks.language_modeling.evaluation_settings import MEASURES, LanguageComparison, LanguageEvaluation
from modelmill.tasks.language_modeling.measuring import conversations, examples, preferences, responses
from modelmill.tasks.language_modeling.measuring.answering import answers
from modelmill.tasks.language_modeling.measuring.preference_measures import PreferenceMeasures
from modelmill.tasks.language_modeling.measuring.response_measures import ResponseMeasures
from modelmill.tasks.language_modeling.measuring.speaking import Speaker
from tests.component.steps import Steps
from tests.conversations import LENGTH, Chats, Messages, call, nats, talk
from tests.recipes import language_recipe

TALKS = [talk(1), talk(2, 3), call(3), talk(4, 5), call(5), talk(6, 2)]
ANSWERED = [("def a", "value 1", "value 22"), ("def b", "one", "a longer one"), ("def c", "value 3 and more", "4")]


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Chats:
    return Chats(tmp_path_factory.mktemp("chats"))


def task_of(chats: Chats, talks: list[Messages], **line: Any) -> Any:
    files = chats.conversations("train", [talk(100)]) | chats.conversations("test", talks, **line)
    return chats.task(files, "conversations")


def test_each_turn_is_measured_as_transformers_measures_it(chats: Chats) -> None:
    model, held_out = chats.model(), responses.read(task := task_of(chats, TALKS), True)
    rows = responses.rows_of(task, model, held_out, "after", 100)
    expected = [[nats(model, *turn) for turn in chats.turns(messages)] for messages in TALKS]
    found = [row for row in rows if row["set"] == "turns"]
    assert [row["loss"] for row in found] == pytest.approx([one for turns in expected for one in turns], rel=1e-4)
    whole = [row for row in rows if row["set"] == "pairs"]
    assert [row["loss"] for row in whole] == pytest.approx([sum(turns) for turns in expected], rel=1e-4)
    said = [sum(len(m["content"]) for m in messages if m["role"] == "assistant") for messages in TALKS]
    assert [row["bytes"] for row in whole if "tools=none" in row["slices"]] == [
        size for size, messages in zip(said, TALKS, strict=True) if messages[0]["role"] == "system"
    ]


def test_slices_tell_turns_tools_source_and_what_is_answered(chats: Chats) -> None:
    model, held_out = chats.model(), responses.read(task := task_of(chats, TALKS, source="forum"), True)
    rows = responses.rows_of(task, model, held_out, "after", 100)
    whole = [row["slices"][1:] for row in rows if row["set"] == "pairs"]
    assert whole[1] == ["turns=3", "tools=none", "source=forum"]
    assert whole[2] == ["turns=2", "tools=called", "source=forum"]
    assert whole[3] == ["turns=4 or more", "tools=none", "source=forum"]
    turns = [row["slices"] for row in rows if row["set"] == "turns"]
    assert turns[4:6] == [
        ["turn=1", "answer to=user", "answer=tool call"],
        ["turn=2", "answer to=tool", "answer=text"],
    ]
    assert [one[0] for one in turns[6:11]] == ["turn=1", "turn=2", "turn=3", "turn=4 or later", "turn=4 or later"]
    named = {part["slice"] for part in breakdown.of_metric("bits", MEASURES["response_bits_per_byte"], [], rows)}
    assert {"all", "turns=3", "tools=called"} <= named and "source=forum" not in named  # which all are of


def test_rare_sources_are_one_slice(chats: Chats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MOST_SOURCES", 1)
    task = task_of(chats, TALKS)
    file = task.files["test/00000.pairs.conversations.jsonl"]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    named = zip(lines, ["forum", "wiki", "forum", "book", None, ""], strict=True)
    file.write_text("".join(json.dumps(line | {"source": name}) + "\n" for line, name in named))
    sources = [[name for name in one.slices if "source" in name] for one in responses.read(task, True).talks]
    assert sources == [["source=forum"], ["source=others"], ["source=forum"], ["source=others"], [], []]


def test_a_conversation_that_the_windows_cut_off_is_left_out(chats: Chats) -> None:
    talks = [talk(n, 2) for n in range(8)]
    task = task_of(chats, talks)
    held_out = responses.read(task, True)
    every = responses.rows_of(task, chats.model(), held_out, "after", 100)
    fewer = responses.rows_of(task, chats.model(), held_out, "after", len(held_out.windows) - 1)
    assert 0 < len(fewer) < len(every)
    known = {row["example"]: row["loss"] for row in every}
    assert all(row["loss"] == pytest.approx(known[row["example"]]) for row in fewer)


def speaker_of(chats: Chats, talks: list[Messages], **settings: Any) -> Speaker:
    held_out = responses.read(task := task_of(chats, talks), True)
    return Speaker(task, held_out, examples.tokenizer_of(task), LanguageEvaluation(**settings))


def test_a_call_matches_where_name_and_arguments_do(chats: Chats) -> None:
    speaker = speaker_of(chats, [call(n) for n in range(4)], samples=0)
    runs = [turn.run for _, turn in speaker.calling]
    said = [
        '<call>{"arguments": {"value": 0}, "name": "scale"}</call>',
        '<call>{"name": "scale", "arguments": {"value": 2}}</call>',
        '<call>{"name": "square", "arguments": {"value": 2}}</call>',
        "It is 6.",
    ]
    ids = [chats.tokenizer(text, add_special_tokens=False).input_ids for text in said]
    rows = speaker.call_rows(dict(zip(runs, ids, strict=True)), "after")
    assert [(row["score"], row["correct"]) for row in rows] == [(1, True), (1, False), (1, False), (0, False)]
    assert json.loads(rows[1]["prediction"]) == [["scale", '{"value": 2}']]
    match, parse = (
        breakdown.whole(name, MEASURES[name], [], rows) for name in ("tool_calls_match", "tool_calls_parse")
    )
    assert match is not None and parse is not None and (match["after"], parse["after"]) == (0.25, 0.75)


def test_turns_whose_calls_the_template_writes_otherwise_are_left_out_with_a_word(
    chats: Chats, caplog: pytest.LogCaptureFixture
) -> None:
    strange = call(1)
    strange[1]["tool_calls"][0]["function"]["name"] = "scale"
    held_out = responses.read(task := task_of(chats, [call(0), strange]), True)
    turn = held_out.talks[1].turns[0]
    held_out.talks[1].turns[0] = turn._replace(calls=[*turn.calls, *turn.calls])
    speaker = Speaker(task, held_out, examples.tokenizer_of(task), LanguageEvaluation())
    assert [one.number for one, _ in speaker.calling] == [held_out.talks[0].number]
    assert "the calls of 1 of 2 held-out turns are not found" in caplog.text


def test_what_is_said_in_a_turn_is_the_models_greedy_answer_to_what_came_before(chats: Chats) -> None:
    talks = [talk(2, 2), call(3)]
    speaker, model = speaker_of(chats, talks, samples=2, sample_tokens=6), chats.model()
    said = speaker.speak(model)
    given = [before for messages in talks for before, _ in chats.turns(messages)]
    assert len(said) == len(given) == 4
    for found, prompt in zip(said.values(), given, strict=True):
        ids = torch.tensor([prompt])
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, eos_token_id=chats.stop,
            pad_token_id=chats.end,
        )  # fmt: skip
        assert found[:6] == [one for one in output[0, len(prompt) :].tolist() if one not in (chats.stop, chats.end)]


def test_samples_are_whole_conversations_with_what_was_said_before_and_after(chats: Chats) -> None:
    task = task_of(chats, [call(3), talk(4, 6)])
    settings = LanguageEvaluation(samples=2, sample_tokens=4, tool_calls=0)
    measures = ResponseMeasures(task, settings, "conversations")
    before, after = measures.measure(chats.model(1), "before"), measures.measure(chats.model(2), "after")
    assert not [row for row in before + after if row["set"] == "tool_calls"]
    called, long = measures.samples()
    assert [message["role"] for message in called["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert called["messages"][2]["content"] == "6"
    assert called["messages"][3]["versions"]["true"] == "It is 6."
    assert [set(message.get("versions", ())) for message in called["messages"]][1] == {"true", "before", "after"}
    assert sum("versions" in message for message in long["messages"]) == 4, "the last turns alone are generated"
    assert long["messages"][2]["content"] == "value 28"


@pytest.mark.parametrize("kind", ["attention", "recurrent"])
def test_answers_are_the_same_together_and_alone(chats: Chats, kind: str) -> None:
    torch.manual_seed(0)
    model: Any = chats.model()
    if kind == "recurrent":  # it reads padding as it reads all else
        config = RwkvConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, intermediate_size=16)
        model = RwkvForCausalLM(config).eval()
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=1.0)
    task = SimpleNamespace(length=LENGTH, corpus=SimpleNamespace(info={"end_of_text": 63, "frame": {"stop": 63}}))
    prompts = [[5, 9, 3], [7], [11, 2, 40, 21, 9, 30], [8, 1, 3], [33] * 20]
    asked = [(prompt, 3 + 2 * place) for place, prompt in enumerate(prompts)]
    alone = [answers(task, model, [one])[0] for one in asked]
    assert answers(task, model, asked) == alone
    assert len({tuple(one) for one in alone}) > 1 and len(alone[4]) == 11
    task.length = 24
    assert answers(task, model, asked) == [*alone[:4], alone[4][:4]]


def preferences_of(chats: Chats, kind: str, answered: list[tuple[str, str, str]]) -> tuple[Any, Any]:
    files = chats.preferences("train", [("x", "y", "z")]) | chats.preferences("test", answered)
    task = chats.task(files, kind)
    return task, preferences.read(task, kind)


def test_margins_are_the_differences_of_log_probabilities(chats: Chats) -> None:
    task, held_out = preferences_of(chats, "preferences", ANSWERED)
    model = chats.model()
    rows = preferences.rows_of(task, model, held_out, "after", 100)
    parts = [chats.answered(*one) for one in ANSWERED]
    margins = [nats(model, prompt, bad) - nats(model, prompt, good) for prompt, good, bad in parts]
    judged = [row for row in rows if row["set"] == "preferences"]
    assert [row["score"] for row in judged] == pytest.approx(margins, rel=1e-4, abs=1e-4)
    assert [row["correct"] for row in judged] == [margin > 0 for margin in margins]
    assert [row["slices"][1] for row in judged] == ["longer=rejected", "longer=rejected", "longer=chosen"]
    chosen = [row for row in rows if row["set"] == "pairs"]
    assert [row["loss"] for row in chosen] == pytest.approx([nats(model, p, good) for p, good, _ in parts], rel=1e-4)
    assert [row["bytes"] for row in chosen] == [len(good) for _, good, _ in ANSWERED]


def test_labelled_answers_are_likely_or_unlikely(chats: Chats) -> None:
    labelled = [("def a", "value 1", ""), ("def b", "", "a longer one"), ("def c", "", "4")]
    task, held_out = preferences_of(chats, "labelled", labelled)
    model = chats.model()
    rows = preferences.rows_of(task, model, held_out, "after", 100)
    expected = []
    for prompt, good, bad in labelled:
        given, *said = chats.answered(prompt, good or bad)
        expected.append(nats(model, given, said[0]) * (-1 if good else 1))
    judged = [row for row in rows if row["set"] == "labelled"]
    assert [row["score"] for row in judged] == pytest.approx(expected, rel=1e-4)
    assert [row["slices"][1] for row in judged] == ["label=good", "label=bad", "label=bad"]
    assert sum(row["set"] == "pairs" for row in rows) == 1


def test_preferences_must_be_kept_better_than_before_by_more_than_chance(chats: Chats) -> None:
    files = chats.preferences("train", [("x", "y", "z")]) | chats.preferences("test", ANSWERED)
    task = chats.task(files, "preferences")
    settings = LanguageEvaluation(samples=1, sample_tokens=4)
    compared = ("preference_margin", MEASURES["preference_margin"])
    measures = PreferenceMeasures(task, settings, "preferences", compared)
    before, after = measures.measure(chats.model(1), "before"), measures.measure(chats.model(2), "after")
    metrics = measures.metrics(before, after)
    (baseline,) = measures.baselines(before, after, metrics)
    assert baseline.value == pytest.approx(metrics["preference_margin"])
    assert baseline.least == pytest.approx(metrics["preference_margin_before"])
    assert baseline.better_by is not None
    low, high = baseline.better_by
    assert low <= baseline.value - baseline.least <= high and baseline.check["passed"] is (low > 0)
    rises = [
        mine["score"] > was["score"] for mine, was in zip(after, before, strict=True) if mine["set"] == "preferences"
    ]
    assert metrics["reward_accuracy"] == pytest.approx(sum(rises) / 3)
    assert metrics["preference_accuracy"] == sum(row["correct"] for row in after if row["set"] == "preferences") / 3
    (sample,) = measures.samples()
    assert list(sample["messages"][1]["versions"]) == ["chosen", "rejected", "before", "after"]
    assert sample["messages"][1]["versions"]["chosen"] == "value 1"
    assert not measures.baselines([], after, metrics)


def test_a_run_over_conversations_measures_gates_and_compares_them(chats: Chats, tmp_path: Path) -> None:
    recipe = language_recipe(
        tmp_path,
        tmp_path / "data",
        pretraining__steps=0,
        preprocessing__sequence_length=LENGTH,
        fine_tuning__method="full",
        evaluation={"documents": False, "samples": 2, "sample_tokens": 4, "comparison": "none", "ngram_order": 1},
    )
    steps = Steps(recipe, tmp_path / "steps")
    files: dict[str, Path] = {}
    for first, split in enumerate(("train", "validation", "test")):
        numbers = range(12 * first, 12 * first + 12)
        files |= chats.conversations(split, [call(n) if n % 3 == 0 else talk(n, n % 3) for n in numbers])
    named = (files | chats.tokenizer_files()).items()
    entries = [manifest.add_file(steps.store, path, name) for name, path in named]
    corpus = chats.corpus("conversations").model_copy(update={"entries": entries})
    pretrained = steps.pretrained(corpus)
    made = steps.evaluated(corpus, pretrained, steps.tuned(corpus, pretrained))
    metrics = made.info["metrics"]
    assert set(metrics) == {
        "loss_before", "loss_after", "response_bits_per_byte", "tool_calls_parse", "tool_calls_match",
        "tool_calls_parse_before", "tool_calls_match_before",
    }  # fmt: skip
    assert metrics["loss_after"] < metrics["loss_before"]
    table = json.loads(manifest.read_entry(steps.store, made.entry("breakdown.json")))
    every = next(part for part in table if (part["metric"], part["slice"]) == ("response_bits_per_byte", "all"))
    assert every["after"] == metrics["response_bits_per_byte"] and every["better_by"][0] > 0
    assert {"turn=1", "answer to=tool", "tools=called"} <= {part["slice"] for part in table}
    checks = json.loads(manifest.read_entry(steps.store, made.entry("gate.json")))["checks"]
    assert [check["baseline"] for check in checks] == ["1-grams of tokens of training responses", "before fine-tuning"]
    assert len(json.loads(manifest.read_entry(steps.store, made.entry("samples.json")))) == 2
    for metric in ("response_bits_per_byte", "tool_calls_match"):
        settings = LanguageComparison(minimum=2).model_dump() | {"metric": metric, "seed": 0}
        decision = decide_between(steps.store, made, made, settings | {"measure": MEASURES[metric]._asdict()})
        assert decision["verdict"] == "not worse" and decision["passed"]


def test_a_run_over_preferences_is_compared_by_their_accuracy(chats: Chats, tmp_path: Path) -> None:
    recipe = language_recipe(
        tmp_path,
        tmp_path / "data",
        pretraining__steps=0,
        preprocessing__sequence_length=LENGTH,
        fine_tuning={"method": "full", "steps": 2, "batch_size": 4, "learning_rate": 0.01},
        evaluation={"documents": False, "samples": 1, "sample_tokens": 4, "comparison": "none"},
    )
    steps = Steps(recipe, tmp_path / "steps")
    files = {
        name: path
        for split in ("train", "validation", "test")
        for name, path in chats.preferences(split, [*ANSWERED, ("def z", split, "5")]).items()
    }
    entries = [manifest.add_file(steps.store, p, name) for name, p in (files | chats.tokenizer_files()).items()]
    corpus = chats.corpus("preferences").model_copy(update={"entries": entries})
    pretrained = steps.pretrained(corpus)
    made = steps.evaluated(corpus, pretrained, steps.tuned(corpus, pretrained))
    names = ("preference_margin", "preference_accuracy")
    expected = {f"{name}{when}" for name in names for when in ("", "_before")}
    assert set(made.info["metrics"]) == {*expected, "reward_accuracy", "response_bits_per_byte"}
    (check,) = json.loads(manifest.read_entry(steps.store, made.entry("gate.json")))["checks"]
    assert (check["metric"], check["baseline"]) == ("preference_accuracy", "before fine-tuning")
    settings = LanguageComparison(minimum=2).model_dump() | {"metric": names[1], "seed": 0}
    decision = decide_between(steps.store, made, made, settings | {"measure": MEASURES[names[1]]._asdict()})
    assert decision["verdict"] == "not enough evidence" and decision["numbers"]["examples"] == 1, (
        "three of the four are in the training split too"
    )
