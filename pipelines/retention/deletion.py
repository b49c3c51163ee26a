"""`modelmill gc`: deletes what nothing reaches any more. What is in use, says `reachable`; the rest, `retention`."""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from modelmill.core.errors import ModelmillError
from modelmill.pipelines.retention.reachable import Reachable
from modelmill.store import Store
from modelmill.store.retention import BATCH_SECONDS, announcing

# Of one announcement; at once where the store answers many requests at once.
_BATCH, _AT_ONCE = 1000, 16


class Leftover(NamedTuple):
    """An object that can be deleted; `group` as in `Reachable.leftovers`."""

    key: str
    bytes: int
    group: int


def find(reachable: Reachable) -> list[Leftover]:
    """Return what can be deleted, in the order in which it must be; nothing younger than the grace period."""
    objects = reachable.objects
    return [
        Leftover(key, objects[key].bytes, group)
        for group, keys in enumerate(reachable.leftovers())
        for key in keys
        if reachable.is_old(objects[key])
    ]


def delete(
    store: Store, reachable: Reachable, leftovers: list[Leftover], progress: Callable[[int], None]
) -> list[Leftover]:
    """Delete what is still a leftover when its turn comes, and return what was deleted.

    Killed at any point it leaves a store that is whole: an object goes after all that name it, and the next gc goes on.

    Args:
        store: The store.
        reachable: What is in use.
        leftovers: What `find` returned.
        progress: Is told how many more were dealt with.

    Raises:
        ModelmillError: Another gc is at work in the store, or the store is too slow to be sure of anything.
    """
    if not leftovers:
        return []
    deleted: list[Leftover] = []

    def settle(one: Leftover) -> bool:
        if reachable.keeps(one.key) or not reachable.is_old(store.stat(one.key)):
            return False
        store.delete(one.key)
        return True

    with announcing(store) as announcer, ThreadPoolExecutor(_AT_ONCE) as pool:
        for _, group in itertools.groupby(leftovers, lambda one: one.group):
            waiting = list(group)
            while waiting:
                deadline = announcer.announce([one.key for one in waiting[:_BATCH]])
                reachable.look()
                if time.monotonic() > deadline:
                    slow = f"reading the runs' records takes longer than {BATCH_SECONDS} s"
                    raise ModelmillError(f"{store.uri}: answers too slowly, {slow}; nothing more is deleted")
                batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
                while batch and time.monotonic() < deadline:
                    some, batch = batch[:_AT_ONCE], batch[_AT_ONCE:]
                    deleted += [one for one, is_gone in zip(some, pool.map(settle, some), strict=True) if is_gone]
                    progress(len(some))
                waiting = batch + waiting
    return deleted
