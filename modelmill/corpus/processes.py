"""Work on shards in as many processes as there are cores to use."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from modelmill.core import lifetime, limits

T = TypeVar("T")


def each(work: Callable[..., T], jobs: Sequence[tuple[Any, ...]]) -> Iterator[T]:
    """Yield the result of `work` on the arguments of each job, in order; the processes end when this one does."""
    workers = min(len(jobs), limits.cores())
    if workers < 2:
        yield from (work(*job) for job in jobs)
        return
    # Spawned, not forked: the tokenizer's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=lifetime.exit_with_parent) as pool:
        yield from pool.map(work, *zip(*jobs, strict=True))
