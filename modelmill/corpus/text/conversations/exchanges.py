"""Conversations taken apart at turns: system messages, and exchanges that each begin with a message of the user."""

import bisect
from collections.abc import Callable, Sequence
from typing import NamedTuple

from modelmill.corpus.text.conversations.conversation import Message

SYSTEM = ("system", "developer")


class Exchanges(NamedTuple):
    """The numbers of a conversation's messages, from 0.

    Attributes:
        head: Those of the system messages that it begins with.
        groups: Those of each exchange: messages of the user, and what follows up to the next of the user.
    """

    head: list[int]
    groups: list[list[int]]

    def numbers(self, first: int, end: int | None = None) -> list[int]:
        """Return the numbers of system messages and of some exchanges."""
        return [*self.head, *(number for group in self.groups[first:end] for number in group)]


def exchanges(messages: Sequence[Message]) -> Exchanges:
    """Return the exchanges of a conversation."""
    roles = [message.get("role") for message in messages]
    begins = next((number for number, role in enumerate(roles) if role not in SYSTEM), len(roles))
    groups: list[list[int]] = []
    for number in range(begins, len(roles)):
        if not groups or (roles[number] == "user" and roles[number - 1] != "user"):
            groups.append([])
        groups[-1].append(number)
    return Exchanges(list(range(begins)), groups)


def shortened(
    messages: Sequence[Message],
    measure: Callable[[Sequence[Message]], int],
    room: int,
    without: Callable[[str, int], str],
) -> list[Message]:
    """Return a conversation without its oldest exchanges and, if that is not enough, without the first one's beginning.

    Args:
        messages: The messages.
        measure: Returns how many ids a conversation has.
        room: The most of them.
        without: Returns a text without its first tokens.
    """
    if measure(messages) <= room:
        return list(messages)
    found = exchanges(messages)

    def from_group(first: int) -> list[Message]:
        return [messages[number] for number in found.numbers(first)]

    last = max(0, len(found.groups) - 1)
    first = bisect.bisect_left(range(1, last), True, key=lambda n: measure(from_group(n)) <= room) + 1
    return cut(from_group(min(first, last)), measure, room, without)


def cut(
    messages: Sequence[Message],
    measure: Callable[[Sequence[Message]], int],
    room: int,
    without: Callable[[str, int], str],
) -> list[Message]:
    """Return a conversation whose first message of the user has lost its beginning, as far as is needed.

    Args:
        messages: The messages.
        measure: Returns how many ids a conversation has.
        room: The most of them.
        without: Returns a text without its first tokens.
    """
    made = list(messages)
    place = next((n for n, message in enumerate(made) if message.get("role") == "user"), None)
    if place is None or not isinstance(prompt := made[place].get("content"), str):
        return made
    kept, dropped = prompt, 0
    while kept and (over := measure(made) - room) > 0:
        dropped += over
        kept = without(prompt, dropped)
        made[place] = {**made[place], "content": kept}
    return made
