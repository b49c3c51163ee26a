"""`make bench-conversations`: preferences and conversations on SmolLM2-135M-Instruct with LoRA, beside TRL."""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench_open_models import model_in
from benchmarks.conversations import oracle
from benchmarks.conversations.peers import OURS, PEERS, TRL
from benchmarks.machine import machine, printed_by
from benchmarks.open_models.peers import CLOCKS

PARTS = ("oracle", "preferences", "conversations")
WHAT = {"preferences": "pairs", "conversations": "conversations"}
Figures = dict[str, dict[str, Any]]


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments.add_argument("--peers", nargs="+", help="by their names; all of them by default")
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--warm-up", type=int, default=2, help="steps that are not timed")
    arguments.add_argument("--steps", type=int, default=8, help="that are timed")
    arguments.add_argument("--rows", type=int, default=4, help="rows of a step, which take the other peers' examples")
    arguments.add_argument("--length", type=int, default=512, help="most tokens of a sequence")
    arguments.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: one thread's, on a machine in use")
    arguments.add_argument("--folder", type=Path, help="keep the model here and use it again")
    chosen = arguments.parse_args()
    print(f"{machine()}, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        model = model_in((chosen.folder or Path(scratch)).absolute())
        for part in chosen.parts:
            if part == "oracle":
                oracle.show()
            else:
                show(part, _rounds(part, model, chosen))


def _rounds(kind: str, model: Path, chosen: argparse.Namespace) -> Figures:
    """Return the fastest round of each peer, with its largest peak; others get as many examples a step as ours."""
    best: Figures = {}
    for _ in range(chosen.rounds):
        for peer in chosen.peers or PEERS[kind]:
            ours = best.get(OURS)
            batch = chosen.rows if peer.startswith(OURS) or not ours else round(ours["step_examples"])
            made = _run(peer, kind, model, batch, chosen)
            print(f"{kind}, {peer}: {_speed(made):.2f} {WHAT[kind]} a second", file=sys.stderr, flush=True)
            was = best.get(peer, made)
            fastest = min(was, made, key=lambda one: one["seconds"] / one["examples"])
            best[peer] = fastest | {"peak_mib": max(was["peak_mib"], made["peak_mib"])}
    return best


def show(kind: str, figures: Figures) -> None:
    """Print a table of the peers, and the ratios to the best that TRL can do.

    Args:
        kind: `preferences` or `conversations`.
        figures: Figures of the peers.
    """
    what = WHAT[kind]
    print(f"\n| {kind} | {what} a second | {what} a step | peak MiB | reference, s |\n|---|---|---|---|---|")
    for peer, one in figures.items():
        numbers = f"{_speed(one):.2f} | {one['step_examples']:.1f} | {one['peak_mib']:,.0f}"
        print(f"| {peer} | {numbers} | {one['reference_seconds']:.0f} |")
    ours, theirs = ([one for peer, one in figures.items() if peer.startswith(who)] for who in (OURS, TRL))
    if ours and theirs:
        mine, its = max(ours, key=_speed), max(theirs, key=_speed)
        least = min(one["peak_mib"] for one in theirs)
        print(
            f"\n{kind}: {_speed(mine) / _speed(its):.2f} times the {what} a second of TRL, each at its best; ", end=""
        )
        print(f"peak {mine['peak_mib'] / least:.2f} times TRL's least", flush=True)


def _speed(one: dict[str, Any]) -> float:
    return float(one["examples"] / one["seconds"])


def _run(peer: str, kind: str, model: Path, batch: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what a peer's process printed last."""
    numbers = chosen.length, batch, chosen.warm_up + chosen.steps, chosen.warm_up
    given = (peer, kind, model, *numbers, chosen.clock)
    return printed_by("benchmarks.conversations.peers", *given, one_thread=chosen.clock == "cpu")


if __name__ == "__main__":
    main()
