"""Threads beside a training."""

from concurrent.futures import ThreadPoolExecutor

import torch
from threadpoolctl import threadpool_limits


def threads_beside_training(name: str, count: int = 1) -> ThreadPoolExecutor:
    """Return a pool of threads, on each of which PyTorch's operators run alone.

    GNU OpenMP gives every thread that runs a parallel operator a team of its own. Once teams have more threads than
    there are cores, they all sleep instead of spinning: a recurrent layer, which waits at each step in time, then takes
    three times as long, for the rest of the process.

    Args:
        name: Name of the threads.
        count: How many there are.
    """

    def keep_to_one() -> None:
        torch.get_num_threads()  # sets the number when a thread first asks
        threadpool_limits(1, user_api="openmp")

    return ThreadPoolExecutor(count, thread_name_prefix=name, initializer=keep_to_one)
