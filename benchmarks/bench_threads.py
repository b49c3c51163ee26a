"""A recurrent layer's training step on a CPU: beside a thread that makes batches, and beside others' processes.

Run as `python -m benchmarks.bench_threads`. Each case runs in a process of its own, because the effect of a thread
lasts as long as its process; the fastest of the rounds counts. The second table has as many processes beside the
training as there are cores, which leave it half of each core, for each way in which OpenMP's threads can wait.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.machine import machine

CASES = ("nothing", "a thread", "a thread on one core")
WAITING = {
    "as OpenMP does by default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "1,000 turns": {"GOMP_SPINCOUNT": "1000"},
    "10,000 turns": {"GOMP_SPINCOUNT": "10000"},
}
ROUNDS, STEPS = 3, 40
_BUSY = "while True: pass"


def main() -> None:
    """Run every case and print the tables."""
    print(machine(), end="\n\n")
    alone = _fastest({case: (case, {}) for case in CASES})
    print("| beside it | ms a step | times alone |\n|---|---|---|")
    for case, seconds in alone.items():
        print(f"| {case} | {seconds * 1000:.1f} | {seconds / alone['nothing']:.2f} |")
    waiting = {name: ("nothing", variables) for name, variables in WAITING.items()}
    quiet = _fastest(waiting)
    with _busy_cores():
        shared = _fastest(waiting)
    print("\n| threads wait | ms a step alone | beside others | times alone |\n|---|---|---|---|")
    for name in WAITING:
        ratio = shared[name] / quiet[name]
        print(f"| {name} | {quiet[name] * 1000:.1f} | {shared[name] * 1000:.1f} | {ratio:.2f} |")


def _fastest(cases: dict[str, tuple[str, dict[str, str]]]) -> dict[str, float]:
    """Return the fastest round of each case, which is one of `CASES` with variables of the environment, in seconds."""
    fastest = dict.fromkeys(cases, float("inf"))
    for _ in range(ROUNDS):
        for name, (case, variables) in cases.items():
            command = [sys.executable, "-m", "benchmarks.bench_threads", case]
            printed = subprocess.check_output(command, env=os.environ | variables)
            fastest[name] = min(fastest[name], float(printed))
    return fastest


@contextmanager
def _busy_cores() -> Iterator[None]:
    """Keep every core busy with a process of somebody else's."""
    others = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def measure(case: str) -> float:
    """Return the seconds a step of an LSTM over 16 sequences of 130 steps in time.

    Args:
        case: One of `CASES`.
    """
    import torch

    from modelmill.training.device.threads import threads_beside_training

    def make() -> torch.Tensor:
        return torch.zeros(16, 1 << 16) / 2

    pool = {"a thread": ThreadPoolExecutor(1), "a thread on one core": threads_beside_training("feeder")}.get(case)
    layer = torch.nn.LSTM(96, 128, bidirectional=True)
    sequences = torch.randn(130, 16, 96)
    seconds = []
    for _ in range(STEPS):
        began = time.perf_counter()
        batch = pool.submit(make) if pool else None
        layer(sequences)[0].sum().backward()
        if batch:
            batch.result()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[STEPS // 2]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1]))
    else:
        main()
