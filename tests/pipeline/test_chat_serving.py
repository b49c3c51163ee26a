"""Conversations with a registered model: over HTTP, at the terminal, and as rows."""

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests import cli
from tests.chat_registrations import ChatModel, assistant, user
from tests.pipeline.conftest import Finished
from tests.pipeline.test_predict import direct, served

SYSTEM = {"role": "system", "content": "Answer in one word."}
TOOL = {
    "type": "function",
    "function": {
        "name": "area",
        "parameters": {"type": "object", "properties": {"shape": {"anyOf": [{"type": "null"}]}}},
    },
}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatModel:
    return ChatModel(tmp_path_factory.mktemp("chat"))


def ask(chat: ChatModel, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return cli.modelmill("predict", chat.case.name, *arguments, "--store", chat.case.store.uri, stdin=stdin)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was said, without the bar of a process that had imported transformers before it was told to show none."""
    return [line for line in done.stderr.splitlines() if line and "Loading weights" not in line]


def post(port: int, payload: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        data=json.dumps(payload).encode(),
        headers={"Content-Type": "application/json"},
    )
    return json.loads(direct().open(request, timeout=60).read())


def content(completion: dict[str, Any]) -> str:
    return str(completion["choices"][0]["message"]["content"])


def test_a_conversation_over_http(chat: ChatModel, tmp_path: Path) -> None:
    run = Finished(Path(f"{chat.case.name}.yaml"), chat.case.folder / "store", {})
    with served(run, tmp_path) as port:
        talk = [SYSTEM, user("Hello")]
        for question in ("And now?", "Why?", ""):
            answer = post(port, {"messages": talk, "max_tokens": 9, "temperature": 0, "tools": [TOOL]})
            assert (answer["object"], answer["model"]) == ("chat.completion", chat.case.name)
            assert answer["choices"][0]["message"] == assistant(chat.says(*talk, most=9))
            assert answer["usage"]["completion_tokens"] <= 9
            talk += [answer["choices"][0]["message"], user(question)]
        assert answer["choices"][0]["finish_reason"] in ("length", "stop")

        drawn = {"messages": talk[:2], "max_tokens": 12, "temperature": 1.5}
        said = [content(post(port, {**drawn, "seed": seed})) for seed in (1, 1, 2)]
        assert said[0] == said[1] != said[2]

        stop = chat.says(*talk[:2], most=9)[3:5]
        stopped = post(port, {"messages": talk[:2], "max_tokens": 9, "stop": [stop]})
        assert content(stopped) == chat.says(*talk[:2], most=9).partition(stop)[0]
        assert stopped["choices"][0]["finish_reason"] == "stop"

        rows = [{"messages": talk[:2]}, {"messages": talk[:4]}]
        several = post(port, {"dataframe_records": rows, "params": {"max_tokens": 5}})["predictions"]
        assert [content(one) for one in several] == [chat.says(*row["messages"], most=5) for row in rows]
        (completed,) = post(port, {"prompt": "Hello", "max_new_tokens": 5})
        assert completed == {"completion": chat.says(user("Hello"), most=5)}

        for payload, said_of_it in (
            ({"messages": [{"role": "judge", "content": "x"}]}, "unknown role 'judge'"),
            ({"messages": talk[:3]}, "the last one is the assistant's"),
            ({"messages": talk[:2], "stream": True}, "stream: True is not possible"),
            ({"messages": talk[:2], "response_format": {"type": "json_object"}}, "response_format: "),
            ({"messages": [user("word " * 200)]}, "fit with the answer"),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                post(port, payload)
            assert refused.value.code == 400
            assert said_of_it in json.loads(refused.value.read())["message"]


def test_a_conversation_at_the_terminal(chat: ChatModel, tmp_path: Path) -> None:
    output = tmp_path / "talk.jsonl"
    options = ("--chat", "--system", SYSTEM["content"], "--max-tokens", "8")
    done = ask(chat, *options, "--output", output, stdin="Hello\n\nAnd now?\n")
    talk: list[dict[str, str]] = [SYSTEM]
    for question in ("Hello", "And now?"):
        talk.append(user(question))
        talk.append(assistant(chat.says(*talk, most=8)))
    assert done.returncode == 0, done.stderr
    assert json.loads(output.read_text()) == {"messages": talk}
    # What moves a cursor or changes colours is escaped.
    assert done.stdout.count("\n") >= 2 and "\x1b" not in done.stdout
    shown = json.loads(ask(chat, *options, "--json", stdin="Hello\nAnd now?\n").stdout)
    assert (shown["model"], shown["version"], shown["messages"]) == (chat.case.name, "1", talk)


def test_messages_in_and_out_as_rows(chat: ChatModel, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    asked = [[user("Hello")], [SYSTEM, user("Hello")], [user("Hi"), assistant("Hello"), user("Why?")]]
    lines = [*({"messages": one} for one in asked[:2]), {"prompt": "Hello"}, {"messages": asked[2], "tools": [TOOL]}]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = ask(chat, rows, "--max-tokens", "6")
    assert (done.returncode, errors(done)) == (0, [])
    first, second, third, fourth = map(json.loads, done.stdout.splitlines())
    for row, one in zip((first, second, fourth), asked, strict=True):
        assert row["messages"] == [*one, assistant(chat.says(*one, most=6))]
        assert row["finish_reason"] in ("stop", "length")
    assert third == {"completion": chat.says(user("Hello"), most=6)}
    assert fourth["tools"] == [TOOL]


def test_mlflow_streams_the_answer(chat: ChatModel) -> None:
    cli.registry(chat.case.folder / "store")
    served_model = mlflow.pyfunc.load_model(f"models:/{chat.case.name}@champion")
    chunks = list(served_model.predict_stream({"messages": [user("Hello")]}, params={"max_tokens": 8}))
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in chunks) == chat.says(user("Hello"), most=8)
    assert len(chunks) > 2 and len({one["id"] for one in chunks}) == 1
    assert [one["choices"][0].get("finish_reason") for one in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["usage"]["completion_tokens"] <= 8
    whole = served_model.predict({"messages": [user("Hello")]}, params={"max_tokens": 8})
    assert content(whole) == chat.says(user("Hello"), most=8)


def test_an_imported_model_answers_as_it_is(chat: ChatModel) -> None:
    store = ("--store", chat.case.store.uri)
    imported = cli.modelmill("import", chat.folder, "--as", "tiny-base", *store)
    assert imported.returncode == 0, imported.stderr
    held = cli.modelmill("predict", "tiny-base", "--chat", "--max-tokens", "8", "--json", *store, stdin="Hello\n")
    assert held.returncode == 0, held.stderr
    assert json.loads(held.stdout)["messages"] == [user("Hello"), assistant(chat.says(user("Hello"), most=8))]


def test_what_cannot_be_asked_is_one_line(chat: ChatModel, language_run: Finished, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"messages": [{"role": "judge", "content": "x"}]}\n')
    store = f"file://{language_run.store}"
    for done, said in (
        (ask(chat, rows), "the model refuses a row: messages: turn 1 has the unknown role 'judge'"),
        (ask(chat, rows, "--chat"), "--chat reads messages from standard input: leave INPUT out"),
        (ask(chat), "name an INPUT, or --chat"),
        (ask(chat, "--chat", "--temperature", "9", stdin="Hi\n"), "temperature: 9.0 is not possible; it is 0 to 2"),
        (cli.modelmill("predict", "tiny-lm", "--chat", "--store", store), "holds no conversations, it reads prompt"),
    ):
        assert (done.returncode, len(errors(done))) == (2, 1), done.stderr
        assert said in errors(done)[0]
