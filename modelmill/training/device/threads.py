"""Threads that work beside a training."""

from concurrent.futures import ThreadPoolExecutor

import torch
from threadpoolctl import threadpool_limits


def thread_beside_training(name: str) -> ThreadPoolExecutor:
    """One thread whose PyTorch operators run on it alone.

    GNU OpenMP gives every thread that runs a parallel operator a team of its own, and once teams have more threads than
    there are cores, all of them sleep where they would have spun: a recurrent layer, which waits at each step in time,
    then takes three times as long, for the rest of the process.
    """

    def keep_to_one() -> None:
        torch.get_num_threads()  # which sets the number the first time that a thread asks
        threadpool_limits(1, user_api="openmp")

    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=keep_to_one)
