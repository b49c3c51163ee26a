"""Features of conversations, preferences and labelled answers: what a data contract can say of a row."""

import itertools
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from modelmill.core import digest
from modelmill.corpus.text.conversations import contents
from modelmill.corpus.text.conversations.conversation import BadConversationError, Labelled, Message, Preference
from modelmill.corpus.text.conversations.formats import Example
from modelmill.corpus.text.conversations.sharegpt import as_messages
from modelmill.corpus.text.conversations.values import objects

# Features of every row, by the names of their pyarrow types.
COLUMNS = {
    "turns": "int64",
    "roles": "string",
    "first_role": "string",
    "last_role": "string",
    "empty_contents": "int64",
    "characters": "int64",
    "longest_turn": "int64",
    "longest_turn_tokens": "int64",
    "script": "string",
    "tool_calls": "int64",
    "tool_calls_that_parse": "int64",
    "unanswered_calls": "int64",
    "results_without_call": "int64",
    "prompt_digest": "string",
}
# Further features of rows that hold more than one conversation.
PREFERENCE_COLUMNS = {"chosen_characters": "int64", "rejected_characters": "int64", "chosen_equals_rejected": "bool"}
LABELLED_COLUMNS = {"is_good": "bool"}
# Bytes of UTF-8 in a token of a byte-level vocabulary, as English text has them; other text has fewer.
BYTES_PER_TOKEN = 4
# Letters whose script is looked up: enough to tell, and few enough for large data.
_LETTERS = 200
_DIGITS = 32


def columns(format: str) -> dict[str, str]:
    """Return the features of rows of a format, by the names of their pyarrow types.

    Args:
        format: Format of the rows, as in `preprocessing.pairs.from`.
    """
    further = {"preferences": PREFERENCE_COLUMNS, "labelled": LABELLED_COLUMNS}
    return COLUMNS | further.get(format, {})


def features(example: Example) -> dict[str, Any]:
    """Return the features of a row, in the order of `columns`.

    The messages of a preference are those of its prompt and the chosen answer.

    Args:
        example: The row.

    Returns:
        `turns`, the number of messages; `roles` in order, with spaces between them; `first_role`; `last_role`;
        `empty_contents`, messages with neither content nor tool calls; `characters` of all contents; `longest_turn` in
        characters; `longest_turn_tokens`, an estimate of its tokens; `script` of most of the first letters, such as
        LATIN or CJK; `tool_calls`; `tool_calls_that_parse`, which name a function and whose arguments are a JSON
        object; `unanswered_calls`; `results_without_call`; and `prompt_digest`, of the text that decides the row's
        split, the first message of the user. Of a preference also `chosen_characters`, `rejected_characters` and
        `chosen_equals_rejected`; of a labelled answer also `is_good`.
    """
    identity = contents.identity_of(example).encode("utf-8", "surrogatepass")
    return _of_example(example) | {"prompt_digest": digest.of_bytes(identity)[:_DIGITS]}


def _of_example(example: Example) -> dict[str, Any]:
    if isinstance(example, Preference):
        sides = {f"{side}_characters": _characters(getattr(example, side)) for side in ("chosen", "rejected")}
        is_equal = example.chosen == example.rejected
        return _of_messages([*example.prompt, *example.chosen]) | sides | {"chosen_equals_rejected": is_equal}
    if isinstance(example, Labelled):
        return _of_messages([*example.prompt, *example.completion]) | {"is_good": example.is_good}
    return _of_messages(example.messages)


def of_malformed(format: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features of a row that `of_row` refuses, as far as there are messages in it; empty where none are.

    Args:
        format: Format of the rows.
        row: Values by the standard names of the format's columns.
    """
    try:
        if format == "messages":
            return _of_messages(objects(row.get("messages"), "messages"))
        if format == "sharegpt":
            return _of_messages(as_messages(row.get("conversations"), "conversations"))
    except BadConversationError:
        pass
    return {}


def _of_messages(messages: list[Message]) -> dict[str, Any]:
    roles = [str(message.get("role")) for message in messages]
    texts = [_text_of(message) for message in messages]
    calls = [call for message in messages for call in _calls(message)]
    longest = max(texts, key=len, default="")
    unanswered, without_call = _unmatched(messages)
    values = (
        len(messages),
        " ".join(roles),
        roles[0] if roles else None,
        roles[-1] if roles else None,
        sum(not text.strip() and not _calls(message) for text, message in zip(texts, messages, strict=True)),
        sum(map(len, texts)),
        len(longest),
        -(-len(longest.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN),
        _script(texts),
        len(calls),
        sum(map(_parses, calls)),
        unanswered,
        without_call,
        None,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _characters(messages: list[Message]) -> int:
    return sum(len(_text_of(message)) for message in messages)


def _text_of(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""


def _calls(message: Message) -> list[Any]:
    calls = message.get("tool_calls") or []
    return calls if isinstance(calls, list) else [calls]


def _parses(call: Any) -> bool:
    """Tell whether a tool call names a function and its arguments are a JSON object, as text or as it is."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        return False
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return False
    return isinstance(arguments, dict)


def _unmatched(messages: list[Message]) -> tuple[int, int]:
    """Return how many tool calls have no result, and how many results no call before them.

    A result without an id answers the first call that is open.
    """
    is_open: list[Any] = []
    without_call = 0
    for message in messages:
        is_open += [call.get("id") if isinstance(call, dict) else None for call in _calls(message)]
        if message.get("role") != "tool":
            continue
        identity = message.get("tool_call_id")
        if identity in is_open:
            is_open.remove(identity)
        elif is_open and (identity is None or None in is_open):
            is_open.remove(None) if None in is_open else is_open.pop(0)
        else:
            without_call += 1
    return len(is_open), without_call


def _script(texts: Iterable[str]) -> str | None:
    """Return the script that most of the first letters are of; of equally frequent ones, the first."""
    letters = (letter for text in texts for letter in text if letter.isalpha())
    counts = Counter(map(_script_of, itertools.islice(letters, _LETTERS)))
    return counts.most_common(1)[0][0] if counts else None


@cache
def _script_of(letter: str) -> str:
    """Return the script of a letter: the first word of its Unicode name, such as LATIN, CYRILLIC, CJK or HIRAGANA."""
    return unicodedata.name(letter, "UNKNOWN").split()[0]
