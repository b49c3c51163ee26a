"""Several processes at one store. A module of its own: what it imports, each process imports."""

import contextlib
import multiprocessing
from collections.abc import Callable
from typing import Any

from modelmill.store import Store, open_store


def claim(store: Store, me: int, rounds: int, start: Any) -> list[int]:
    keys = []
    for key in range(rounds):
        start.wait(60)
        if store.put_if_absent(f"lock/{key}", str(me).encode()):
            keys.append(key)
    return keys


def count_up(store: Store, me: int, times: int, start: Any) -> list[int]:
    start.wait(60)
    for _ in range(times):
        while True:
            data, tag = store.read("counter")
            if store.compare_and_swap("counter", str(int(data) + 1).encode(), tag):
                break
    return []


def in_processes(
    count: int, work: Callable[[Store, int, int, Any], list[int]], uri: str, rounds: int
) -> dict[int, list[int]]:
    """What each process returned; they start together."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(count), context.Queue()
    children = [
        context.Process(target=_child, args=(work, uri, me, rounds, start, results), daemon=True) for me in range(count)
    ]
    for child in children:
        child.start()
    try:
        answers = dict(results.get(timeout=180) for _ in children)
    finally:
        for child in children:
            with contextlib.suppress(ValueError):
                child.join(5)
                child.kill()
    return answers


def _child(work: Any, uri: str, me: int, rounds: int, start: Any, results: Any) -> None:
    results.put((me, work(open_store(uri), me, rounds, start)))
