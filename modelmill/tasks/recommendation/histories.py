"""Interactions as histories: of each user the items, numbered by the catalogue, in the order of time."""

from typing import NamedTuple

import numpy as np

# Below these there is nothing to train on, to choose by or to measure.
LEAST = 3


class Histories(NamedTuple):
    """items: int64, (interactions,), numbers from 1 on, user after user. offsets: int64, (users + 1,), where each
    user's begin. users: their names. catalogue: the items' names, from number 1 on. cold: users that are not among
    them, with what they have left.
    """

    items: np.ndarray
    offsets: np.ndarray
    users: list[str]
    catalogue: list[str]
    cold: dict[str, int]

    def of(self, user: int) -> np.ndarray:
        return self.items[self.offsets[user] : self.offsets[user + 1]]


def gather(users: list[str], items: list[str], times: np.ndarray, item_minimum: int) -> Histories:
    """Sort interactions into histories. An item counts once for a user, at its first time; of equal times the order is
    that of the rows. The catalogue begins with the item that most users came to in training; ties go by name.

    Args:
        users, items: a name each row. times: sortable, (rows,).
        item_minimum: an item with fewer interactions is left out.
    """
    user_names, user = np.unique(np.array(users, dtype=object).astype(str), return_inverse=True)
    item_names, item = np.unique(np.array(items, dtype=object).astype(str), return_inverse=True)
    order = np.lexsort((np.arange(len(user)), times, user))
    _, first = np.unique(user[order] * len(item_names) + item[order], return_index=True)
    kept = order[np.sort(first)]
    kept = kept[np.bincount(item[kept], minlength=len(item_names))[item[kept]] >= item_minimum]
    sizes = np.bincount(user[kept], minlength=len(user_names))
    cold = {str(user_names[n]): int(sizes[n]) for n in np.flatnonzero(sizes < LEAST)}
    kept = kept[sizes[user[kept]] >= LEAST]
    sizes = sizes[sizes >= LEAST]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    items_left, number = np.unique(item[kept], return_inverse=True)
    counts = np.bincount(number[_is_training(offsets)], minlength=len(items_left))
    ranked = np.argsort(-counts, kind="stable")
    place = np.empty(len(ranked), np.int64)
    place[ranked] = np.arange(1, len(ranked) + 1)
    names = [str(user_names[n]) for n in np.unique(user[kept])]
    return Histories(place[number], offsets, names, [str(item_names[items_left[n]]) for n in ranked], cold)


def _is_training(offsets: np.ndarray) -> np.ndarray:
    """Which interactions are neither a user's last nor the one before it."""
    found = np.ones(offsets[-1], bool)
    found[offsets[1:] - 1] = False
    found[offsets[1:] - 2] = False
    return found


def training(items: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of training alone: their users' numbers, and the items."""
    chosen = _is_training(offsets)
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[chosen], items[chosen]


def windows(history: np.ndarray, length: int) -> list[np.ndarray]:
    """Pieces of at most `length` + 1 items, of which all but the first are learned; every item but the history's first
    is so in exactly one. The last piece ends where the history does.
    """
    ends = range(len(history), 1, -length)
    return [history[max(0, end - length - 1) : end] for end in reversed(ends)]


def padded(items: np.ndarray, length: int) -> np.ndarray:
    """The last `length` items, zeros before them where there are fewer."""
    last = items[-length:]
    return np.concatenate([np.zeros(length - len(last), np.int64), last])
