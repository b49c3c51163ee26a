"""A recurrent layer's training step on a CPU, alone and while a second thread makes batches: a plain thread, and ours.

Run as `python -m benchmarks.bench_threads`. Each case runs in a process of its own, because the effect of a thread
lasts as long as its process; the fastest of the rounds counts.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.machine import machine

CASES = ("nothing", "a thread", "a thread on one core")
ROUNDS, STEPS = 3, 40


def main() -> None:
    """Run every case and print the table."""
    print(machine(), end="\n\n")
    fastest = dict.fromkeys(CASES, float("inf"))
    for _ in range(ROUNDS):
        for case in CASES:
            command = [sys.executable, "-m", "benchmarks.bench_threads", case]
            fastest[case] = min(fastest[case], float(subprocess.check_output(command)))
    print("| beside it | ms a step | times alone |\n|---|---|---|")
    for case, seconds in fastest.items():
        print(f"| {case} | {seconds * 1000:.1f} | {seconds / fastest['nothing']:.2f} |")


def measure(case: str) -> float:
    """Return the seconds a step of an LSTM over 16 sequences of 130 steps in time.

    Args:
        case: One of `CASES`.
    """
    import torch

    from modelmill.training.device.threads import thread_beside_training

    def make() -> torch.Tensor:
        return torch.zeros(16, 1 << 16) / 2

    pool = {"a thread": ThreadPoolExecutor(1), "a thread on one core": thread_beside_training("feeder")}.get(case)
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
