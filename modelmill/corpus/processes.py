"""Work on shards in as many processes as there are cores to use."""

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from modelmill.core import lifetime, limits

T = TypeVar("T")
# Bytes of data that take longer to encode than processes take to start, about two seconds.
_WORTH_PROCESSES = 16 << 20


def each(work: Callable[..., T], jobs: Sequence[tuple[Any, ...]], size: float = math.inf) -> Iterator[T]:
    """Yield the result of `work` on the arguments of each job, in order; the processes end when this one does.

    Args:
        work: A function of a module.
        jobs: Arguments of each job.
        size: Bytes of data in all jobs; where they are few, this process does the work before others have started.
    """
    workers = min(len(jobs), limits.cores()) if size >= _WORTH_PROCESSES else 1
    if workers < 2:
        yield from (work(*job) for job in jobs)
        return
    # Spawned, not forked: the tokenizer's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=lifetime.exit_with_parent) as pool:
        yield from pool.map(work, *zip(*jobs, strict=True))
