"""`make bench-open-models`: fine-tuning of SmolLM2-135M-Instruct beside TRL, and the start from a large checkpoint."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine, printed_by
from benchmarks.open_models import data, start
from benchmarks.open_models.peers import CLOCKS, OURS, PEERS, TRL

STAGES = ("lora", "full")
PARTS = (*STAGES, "start")
Figures = dict[str, dict[str, Any]]


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--warm-up", type=int, default=3, help="steps that are not timed")
    arguments.add_argument("--steps", type=int, default=12, help="that are timed")
    arguments.add_argument("--batch", type=int, default=4, help="windows of a batch")
    arguments.add_argument("--length", type=int, default=512, help="tokens of a window")
    arguments.add_argument("--gigabytes", type=float, default=5.0, help="of the checkpoint that a start is timed from")
    arguments.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: one thread's, on a machine in use")
    arguments.add_argument("--folder", type=Path, help="keep model and corpus here and use them again")
    chosen = arguments.parse_args()
    threads = ", one thread's CPU seconds" if chosen.clock == "cpu" else ""
    print(f"{machine()}, torch {torch.__version__}{threads}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (chosen.folder or Path(scratch)).absolute()
        model = model_in(folder)
        corpus = data.write(folder, model, chosen.length)
        for part in chosen.parts:
            if part == "start":
                show_start(model, corpus, chosen)
            else:
                show(part, _rounds(part, model, corpus, chosen), chosen)


def model_in(folder: Path) -> Path:
    """Return the folder of SmolLM2."""
    from modelmill.demo import smollm2

    smollm2.write(folder / "smollm2")
    return folder / "smollm2"


def _rounds(stage: str, model: Path, corpus: Path, chosen: argparse.Namespace) -> Figures:
    """Return the fastest round of each peer, with its largest peak."""
    steps = chosen.warm_up + chosen.steps
    best: Figures = {}
    for _ in range(chosen.rounds):
        for peer in chosen.peers:
            how = chosen.length, chosen.batch, steps, chosen.warm_up
            made = _run("peers", chosen.clock, peer, stage, model, corpus, *how)
            print(f"{stage}, {peer}: {made['step_seconds']:.2f} s a step", file=sys.stderr, flush=True)
            was = best.get(peer, made)
            fastest = min(was, made, key=lambda one: one["step_seconds"])
            best[peer] = fastest | {"peak_mib": max(was["peak_mib"], made["peak_mib"])}
    return best


def show(stage: str, figures: Figures, chosen: argparse.Namespace) -> None:
    """Print a table of the peers, and the ratios to the best that TRL can do.

    Args:
        stage: `lora` or `full`.
        figures: Figures of the peers.
        chosen: The command line's options.
    """
    tokens = chosen.batch * chosen.length
    steps = chosen.warm_up + chosen.steps
    print(f"\n| {stage}, {chosen.batch} x {chosen.length} | tokens/s | peak MiB | held-out loss after {steps} steps |")
    print("|---|---|---|---|")
    for peer, one in figures.items():
        print(f"| {peer} | {tokens / one['step_seconds']:,.0f} | {one['peak_mib']:,.0f} | {one['loss']:.4f} |")
    ours, theirs = ([one for peer, one in figures.items() if peer.startswith(who)] for who in (OURS, TRL))
    if not ours or not theirs:
        return
    faster = min(one["step_seconds"] for one in theirs) / min(one["step_seconds"] for one in ours)
    print(f"\n{stage}: {faster:.2f} times the tokens per second of TRL, each at its best", flush=True)
    if OURS in figures and TRL in figures:
        mine, its = figures[OURS], figures[TRL]
        print(
            f"held-out loss {mine['loss'] / its['loss'] - 1:+.2%}, peak {mine['peak_mib'] / its['peak_mib']:.2f} times"
        )


def show_start(model: Path, corpus: Path, chosen: argparse.Namespace) -> None:
    """Print the time to the end of the first step from a sharded checkpoint, and the peak relative to its bytes.

    Args:
        model: Folder of SmolLM2, for its tokenizer.
        corpus: Folder of the packed corpus.
        chosen: The command line's options.
    """
    with tempfile.TemporaryDirectory(dir=model.parent) as scratch:
        size = start.write_checkpoint(Path(scratch), int(chosen.gigabytes * 1e9), model)
        runs = [
            {name: _started(name, Path(scratch), corpus, chosen) for name in start.PEERS} for _ in range(chosen.rounds)
        ]
    best = {name: min((run[name] for run in runs), key=lambda one: one["seconds"]) for name in start.PEERS}
    print(f"\n| first LoRA step from {size / 1e9:.1f} GB in shards | seconds | peak, of its bytes |\n|---|---|---|")
    for name, one in best.items():
        print(f"| {name} | {one['seconds']:.1f} | {one['peak_bytes'] / size:.2f} |")
    print(f"\n{best[start.OURS]['seconds'] / best[start.PLAIN]['seconds']:.2f} times from_pretrained", flush=True)


def _started(name: str, model: Path, corpus: Path, chosen: argparse.Namespace) -> dict[str, float]:
    began = time.time()
    figures = _run("start", chosen.clock, name, model, corpus, chosen.length)
    return figures | {"seconds": figures["ended"] - (began if chosen.clock == "wall" else 0.0)}


def _run(module: str, clock: str, *arguments: object) -> dict[str, Any]:
    """Return what a module's process printed last."""
    return printed_by(f"benchmarks.open_models.{module}", *arguments, clock, one_thread=clock == "cpu")


if __name__ == "__main__":
    main()
