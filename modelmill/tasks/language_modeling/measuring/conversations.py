"""Held-out conversations: their messages beside the tokens that the model sees, turn by turn."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from modelmill.measures import tool_calls
from modelmill.measures.tool_calls import Call
from modelmill.tasks.language_modeling.measuring.examples import Runs

LAST_TURN, LONG_TALK = 4, 4
# Sources that are slices of their own, and the name of all others.
MOST_SOURCES, OTHERS = 20, "others"
Message = dict[str, Any]


class Turn(NamedTuple):
    """A turn of the assistant that is learned.

    Attributes:
        run: Number of its run of learned tokens.
        begin: Place of its first token in the example.
        message: Number of its message; None where it cannot be told which one it is.
        ordinal: How many turns of the assistant there are up to it, 1 for the first.
        answers: Role of the message before it; empty where its message is not known.
        calls: The calls of tools in its message.
    """

    run: int
    begin: int
    message: int | None
    ordinal: int
    answers: str
    calls: list[Call]

    @property
    def slices(self) -> list[str]:
        """Return the slices of turns that it is in."""
        ordinal = str(self.ordinal) if self.ordinal < LAST_TURN else f"{LAST_TURN} or later"
        known = [f"turn={ordinal}"]
        if self.answers:
            known += [f"answer to={self.answers}", f"answer={'tool call' if self.calls else 'text'}"]
        return known


class Talk(NamedTuple):
    """A held-out conversation.

    Attributes:
        number: Number of the example in the split.
        messages: Its messages; none where the corpus does not have them.
        tools: The tools that it offers.
        slices: The slices of conversations that it is in.
        turns: The turns that are learned.
    """

    number: int
    messages: list[Message]
    tools: list[Message]
    slices: list[str]
    turns: list[Turn]


def slices_of(line: Mapping[str, Any]) -> list[str]:
    """Return the slices of conversations that an example is in, beside that of its length.

    Args:
        line: Its line in the corpus's file of conversations; empty where there is none.
    """
    messages = line.get("messages") or []
    if not messages:
        return []
    answers = [message for key in ("chosen", "completion") for message in line.get(key) or []]
    every = [*messages, *answers]
    said = sum(message["role"] == "assistant" for message in every)
    turns = str(said) if said < LONG_TALK else f"{LONG_TALK} or more"
    called = any(message.get("tool_calls") for message in every)
    tools = "called" if called else "offered" if line.get("tools") else "none"
    source = line.get("source")
    return [f"turns={turns}", f"tools={tools}", *([f"source={source}"] if source else [])]


def read(files: Mapping[str, Path], examples: Any, runs: Runs) -> list[Talk]:
    """Return the held-out conversations in the order of their tokens.

    Args:
        files: The corpus's files by their names in it.
        examples: The held-out examples.
        runs: Their runs of learned tokens.
    """
    numbers = np.unique(runs.documents)
    first = np.searchsorted(runs.documents, numbers)
    groups = np.split(np.arange(len(runs.documents)), first[1:]) if len(numbers) else []
    lines = lines_of(files, examples) or [{} for _ in numbers]
    return [
        _talk(int(number), runs, group.tolist(), line)
        for number, group, line in zip(numbers, groups, lines, strict=True)
    ]


def lines_of(files: Mapping[str, Path], examples: Any) -> list[dict[str, Any]]:
    """Return the lines of the corpus's files of held-out conversations, in the order of the examples; none without.

    Of their sources the most frequent are kept; the others are one.

    Args:
        files: The corpus's files by their names in it.
        examples: The held-out examples.
    """
    names = (f"{shard.stem}.conversations.jsonl" for shard in examples.shards)
    lines = [json.loads(line) for name in names if name in files for line in files[name].read_bytes().splitlines()]
    counts = Counter(line["source"] for line in lines if line.get("source"))
    frequent = dict(counts.most_common(MOST_SOURCES))
    return [
        line | {"source": OTHERS} if line.get("source") and line["source"] not in frequent else line for line in lines
    ]


def _talk(number: int, runs: Runs, group: list[int], line: dict[str, Any]) -> Talk:
    messages: list[Message] = line.get("messages") or []
    said = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    learned = [place for place, _ in line.get("learned") or []]
    places = learned if len(learned) == len(group) else [None] * len(group)
    turns = [_turn(run, int(runs.begins[run]), place, messages, said) for run, place in zip(group, places, strict=True)]
    return Talk(number, messages, line.get("tools") or [], slices_of(line), turns)


def _turn(run: int, begin: int, place: int | None, messages: list[Message], said: list[int]) -> Turn:
    if place is None:
        return Turn(run, begin, None, 1, "", [])
    answers = messages[place - 1]["role"] if place else "nothing"
    return Turn(run, begin, place, 1 + said.index(place), answers, tool_calls.of_message(messages[place]))
