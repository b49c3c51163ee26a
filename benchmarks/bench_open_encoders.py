"""`make bench-open-encoders`: fine-tuning of MiniLM, a ViT and a Whisper beside the Hugging Face Trainer."""

import argparse
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine, printed_by
from benchmarks.open_encoders import data
from benchmarks.open_encoders.job import CLOCKS
from benchmarks.open_encoders.peers import OURS, PEERS, TRAINER

# Steps that are timed: those of texts are short, and their lengths differ.
STEPS = {"minilm": 120, "vit": 12, "whisper": 8}
# Of what a rate is; tokens without padding.
UNITS = {"minilm": "tokens", "vit": "images", "whisper": "recordings"}
Figures = dict[str, dict[str, Any]]


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cases", nargs="+", choices=data.CASES, default=list(data.CASES))
    arguments.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--warm-up", type=int, default=4, help="steps that are not timed")
    arguments.add_argument("--steps", type=int, help="that are timed; by default as many as a case needs")
    arguments.add_argument("--texts", type=int, default=2000, help="held-out texts that accuracy is measured on")
    arguments.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: one thread's, on a machine in use")
    arguments.add_argument("--folder", type=Path, help="keep models and corpora here and use them again")
    chosen = arguments.parse_args()
    threads = ", one thread's CPU seconds" if chosen.clock == "cpu" else ""
    print(f"{machine()}, torch {torch.__version__}{threads}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (chosen.folder or Path(scratch)).absolute()
        for case in chosen.cases:
            data.prepare(data.CASES[case](folder), folder)
            show(case, _rounds(case, folder, chosen))


def _rounds(case: str, folder: Path, chosen: argparse.Namespace) -> Figures:
    """Return the fastest round of each peer, with its largest peak and wait."""
    steps = chosen.warm_up + (chosen.steps or STEPS[case])
    best: Figures = {}
    for _ in range(chosen.rounds):
        for peer in chosen.peers:
            how = peer, case, folder, steps, chosen.warm_up, chosen.texts, chosen.clock
            made = printed_by("benchmarks.open_encoders.peers", *how, one_thread=chosen.clock == "cpu")
            print(f"{case}, {peer}: {made['rate']:.1f} {UNITS[case]}/s", file=sys.stderr, flush=True)
            was = best.get(peer, made)
            largest = {name: max(was[name] or 0, made[name] or 0) for name in ("peak_mib", "input_wait")}
            best[peer] = max(was, made, key=lambda one: one["rate"]) | largest
    return best


def show(case: str, figures: Figures) -> None:
    """Print a table of the peers, and the ratio to the best that the Trainer can do.

    Args:
        case: Name of the case.
        figures: Figures of the peers.
    """
    print(f"\n| {case} | {UNITS[case]}/s | waits for input | peak MiB | accuracy |\n|---|---|---|---|---|")
    for peer, one in figures.items():
        waited = f"{one['input_wait']:.2%}" if peer.startswith(OURS) else ""
        print(f"| {peer} | {one['rate']:,.1f} | {waited} | {one['peak_mib']:,.0f} | {_said(one['accuracy'])} |")
    ours, theirs = ([one for peer, one in figures.items() if peer.startswith(who)] for who in (OURS, TRAINER))
    if ours and theirs:
        mine, its = (max(ones, key=lambda one: one["rate"]) for ones in (ours, theirs))
        print(
            f"\n{case}: {mine['rate'] / its['rate']:.2f} times the {UNITS[case]} per second of the Trainer", flush=True
        )


def _said(accuracy: list[float] | None) -> str:
    """Return an accuracy with half the width of its 95 % interval."""
    if accuracy is None:
        return ""
    share, count = accuracy
    return f"{share:.3f} ± {1.96 * math.sqrt(share * (1 - share) / count):.3f}"


if __name__ == "__main__":
    main()
