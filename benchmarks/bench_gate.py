"""`make bench-gate`: the paired bootstrap against scipy's, and error rates of the decision."""

import argparse
import json
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Literal

import numpy as np

from benchmarks.machine import machine
from modelmill.champion.comparison.bootstrap import paired
from modelmill.champion.comparison.decision import decide
from modelmill.champion.comparison.rows import ExampleValues
from modelmill.recipe.measure import LOSS
from modelmill.recipe.sections import Comparison

RESAMPLES = 10_000
SIMULATED = 1000  # resamples a decision in the simulation


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", nargs="+", choices=["bootstrap", "errors"], default=["bootstrap", "errors"])
    arguments.add_argument("--examples", type=int, default=1_000_000, help="pairs to draw from")
    arguments.add_argument("--trials", type=int, default=2000, help="simulated champions and challengers")
    arguments.add_argument("--one", choices=ONE, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.one:
        print(json.dumps(ONE[chosen.one](differences(chosen.examples))))
        return
    print(machine())
    if "bootstrap" in chosen.parts:
        bootstraps(chosen.examples)
    if "errors" in chosen.parts:
        errors(chosen.trials)


def differences(count: int) -> np.ndarray:
    """Return differences of two models' losses, skewed and with long tails as real ones are: float64, (count,)."""
    random = np.random.default_rng(0)
    champion = random.gamma(0.7, 1.5, count)
    return champion * random.normal(0.001, 0.2, count) + random.standard_t(4, count) * 0.02


def bootstraps(count: int) -> None:
    """Print each bootstrap's interval, seconds and memory; each runs in a process of its own, one after the other."""
    command = [sys.executable, "-m", "benchmarks.bench_gate", "--examples", str(count), "--one"]
    intervals = {name: json.loads(subprocess.check_output([*command, name])) for name in ONE}
    print(f"\n| {RESAMPLES:,} resamples of {count:,} pairs | seconds | peak MiB | low | high |\n|---|---|---|---|---|")
    for name, one in intervals.items():
        print(f"| {name} | {one['seconds']:.2f} | {one['peak_mib']:,.0f} | {one['low']:.6e} | {one['high']:.6e} |")
    ours, theirs = intervals["modelmill"], intervals["scipy"]
    width = theirs["high"] - theirs["low"]
    off = max(abs(ours[end] - theirs[end]) for end in ("low", "high")) / width
    print(f"\n{theirs['seconds'] / ours['seconds']:.0f} times as fast; the ends differ by {off:.1%} of the width")


def _modelmill(values: np.ndarray) -> dict[str, float]:
    began = time.perf_counter()
    interval = paired(values, np.ones(len(values)), resamples=RESAMPLES)
    return _figures(began, interval.low, interval.high)


def _scipy(values: np.ndarray) -> dict[str, float]:
    """Return scipy's percentile interval.

    Its bias-corrected interval would take a jackknife of a million samples of a million.
    """
    from scipy.stats import bootstrap

    began = time.perf_counter()
    interval = bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, batch=10, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    return _figures(began, interval.low, interval.high)


def _figures(began: float, low: float, high: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - began, "peak_mib": peak, "low": float(low), "high": float(high)}


ONE = {"modelmill": _modelmill, "scipy": _scipy}


def errors(trials: int) -> None:
    """Print how often a challenger becomes champion, by how much better it truly is."""
    print("\n| rule | examples | truly better by | takes the place | nominal |\n|---|---|---|---|---|")
    edges = {"superior": 0.0, "non_inferior": -Comparison().margin}
    cases = [
        (rule, examples, edge + beyond)
        for rule, edge in edges.items()
        for examples in (200, 2000)
        for beyond in (0.0, 0.01, 0.03)
    ]
    with ProcessPoolExecutor() as pool:
        for case, share in zip(cases, pool.map(partial(_promoted, trials), cases), strict=True):
            rule, examples, better_by = case
            nominal = f"{(1 - Comparison().confidence) / 2:.1%}" if better_by == edges[rule] else ""
            print(f"| {rule} | {examples:,} | {better_by:+.0%} | {share:.1%} | {nominal} |", flush=True)


def _promoted(trials: int, case: tuple[Literal["superior", "non_inferior"], int, float]) -> float:
    """Return the share of the trials in which the challenger is promoted.

    Losses are gamma distributed with mean 1, and differ by a fifth of themselves.
    """
    rule, examples, better_by = case
    settings = Comparison(rule=rule, resamples=SIMULATED).model_dump() | {
        "metric": "loss",
        "measure": LOSS._asdict(),
        "seed": 0,
    }
    random = np.random.default_rng(1)
    ids = np.array([f"{n:06d}" for n in range(examples)], dtype=object)
    nowhere: list[list[str]] = [[]] * examples
    passed = 0
    for _ in range(trials):
        champion = random.gamma(2.0, 0.5, examples)
        challenger = champion * (1 + random.normal(-better_by, 0.2, examples))
        both = (ExampleValues(ids, values, np.ones(examples), nowhere) for values in (challenger, champion))
        passed += decide(*both, settings)["passed"]
    return passed / trials


if __name__ == "__main__":
    main()
