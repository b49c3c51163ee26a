"""Histories of users: items, numbered by the catalogue, in the order of time."""

from typing import NamedTuple

import numpy as np

# The fewest interactions of a user: to train on, to validate with and to test with.
LEAST = 3


class Histories(NamedTuple):
    """The histories of all users.

    Attributes:
        items: Numbers of items from 1 on, one user after the other: int64, (interactions,).
        offsets: Where each user's items begin, int64, (users + 1,).
        users: Names of the users.
        catalogue: Names of the items, from number 1 on.
        cold: Users with too few interactions, who are left out, and how many each has.
    """

    items: np.ndarray
    offsets: np.ndarray
    users: list[str]
    catalogue: list[str]
    cold: dict[str, int]

    def of(self, user: int) -> np.ndarray:
        """Return a user's items, int64, (interactions,)."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]


def gather(users: list[str], items: list[str], times: np.ndarray, item_minimum: int) -> Histories:
    """Return the histories in a table of interactions.

    An item counts once for a user, at its first time; interactions at equal times keep the order of the rows. The
    catalogue is sorted by how many users came to an item in training, most first, then by name.

    Args:
        users: User of each row.
        items: Item of each row.
        times: Sortable, (rows,).
        item_minimum: The fewest interactions of an item; others are left out.
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
    """Return which interactions are neither a user's last nor the one before it: bool, (interactions,)."""
    is_training = np.ones(offsets[-1], bool)
    is_training[offsets[1:] - 1] = False
    is_training[offsets[1:] - 2] = False
    return is_training


def training(items: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the interactions of training: numbers of users and of items, int64, (interactions,).

    Args:
        items: See `Histories`.
        offsets: See `Histories`.
    """
    chosen = _is_training(offsets)
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[chosen], items[chosen]


def windows(history: np.ndarray, length: int) -> list[np.ndarray]:
    """Return windows of at most `length` + 1 items, of which all but the first are learned.

    Every item but the history's first is learned in exactly one window. The last window ends where the history does.

    Args:
        history: (items,).
        length: The most items that are learned in a window.
    """
    ends = range(len(history), 1, -length)
    return [history[max(0, end - length - 1) : end] for end in reversed(ends)]


def padded(items: np.ndarray, length: int) -> np.ndarray:
    """Return the last `length` items, with zeros in front where there are fewer."""
    last = items[-length:]
    return np.concatenate([np.zeros(length - len(last), np.int64), last])
