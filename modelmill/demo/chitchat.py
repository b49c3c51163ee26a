"""Dialogues of two people from the Chit-Chat Challenge, which the package `chitchat-dataset` holds (MIT).

Students of Brigham Young University wrote to each other in 2018; the Perception, Control and Cognition Lab published
what they wrote: https://github.com/BYU-PCCL/chitchat-dataset
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelmill.core.digest import fraction
from modelmill.core.errors import UserError

PACKAGE, FILE = "chitchat_dataset", "dataset.json"
# The shortest dialogue: three answers. Characters of the longest message: what is longer was pasted.
MIN_TURNS, MOST_CHARACTERS = 6, 1000
# Part of the dialogues that is kept, by a draw of their ids: enough for a training of minutes.
SHARE = 0.25
SYSTEM = "You are chatting with a stranger. Answer as a person does, in a line or two. You were asked: {topic}"
# What may lead to a person: addresses, links and numbers of telephones.
_PERSONAL = re.compile(r"\w@\w|https?:|www\.|\d{3}\W?\d{4}")


def chat_sft(shards: int) -> dict[str, bytes]:
    """Return JSON Lines files of dialogues as messages, by path.

    Whoever wrote first is the user and the other the assistant; the question that both were given is in the system
    message. Lines that one sent in a row are one message. A dialogue ends with its last answer. Left out are dialogues
    of fewer than six messages, with an empty or a very long message, or with what may lead to a person. Of the
    dialogues, `SHARE` are drawn by their ids.

    Args:
        shards: Number of files; a dialogue's id draws its own.

    Raises:
        UserError: The package is not installed.
    """
    rows: list[list[str]] = [[] for _ in range(shards)]
    for name, dialogue in sorted(_dialogues().items()):
        if fraction(f"{name} is kept") < SHARE and (row := _row(name, dialogue)) is not None:
            rows[int(fraction(name) * shards)].append(json.dumps(row, ensure_ascii=False) + "\n")
    return {f"dialogues-{n:05d}.jsonl": "".join(lines).encode() for n, lines in enumerate(rows) if lines}


def _dialogues() -> dict[str, dict[str, Any]]:
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise UserError("chat-sft: its dialogues come with chitchat-dataset: pip install 'modelmill[demo]'")
    # The package is not imported: it is its file that is wanted.
    found: dict[str, dict[str, Any]] = json.loads((Path(package.origin).parent / FILE).read_text("utf-8"))
    return found


def _row(name: str, dialogue: dict[str, Any]) -> dict[str, Any] | None:
    turns = list(_turns(dialogue["messages"]))
    turns = turns[: len(turns) - len(turns) % 2]
    topic = dialogue.get("prompt")
    is_chat = len(turns) >= MIN_TURNS and all(0 < len(turn) <= MOST_CHARACTERS for turn in turns)
    if not topic or not is_chat or any(map(_PERSONAL.search, turns)):
        return None
    said = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]
    system = {"role": "system", "content": SYSTEM.format(topic=topic)}
    return {"dialogue": name, "started": dialogue["start"], "topic": topic, "messages": [system, *said]}


def _turns(messages: list[list[dict[str, str]]]) -> Iterator[str]:
    """Yield what one and the other wrote, in turn: the lines of a message that are not empty."""
    for lines in messages:
        yield "\n".join(text for line in lines if (text := line["text"].strip()))
