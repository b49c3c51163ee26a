"""`make bench-train`: the training engine against its peers, in one run on one machine."""

import argparse
import csv
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.machine import machine
from benchmarks.training import data
from benchmarks.training.bench import Bench, Figures, ceiling
from benchmarks.training.peers import AS_WRITTEN, CLOCKS, PEERS, SAVING

OURS, TRAINER = "modelmill", "Hugging Face Trainer"
RESULTS = Path(__file__).parent / "results"
EVERY = 30  # seconds between checkpoints, the default of recipes
Chosen = argparse.Namespace


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    arguments.add_argument("--shapes", nargs="+", choices=data.SHAPES, default=data.usual_shapes())
    arguments.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--warm-up", type=int, default=4, help="steps that are not timed")
    arguments.add_argument("--steps", type=int, default=12, help="that are timed")
    arguments.add_argument("--loss-steps", type=int, default=250)
    arguments.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: one thread's, on a machine in use")
    arguments.add_argument(
        "--turns",
        action=argparse.BooleanOptionalAction,
        default=torch.cuda.is_available(),
        help="start a round's processes side by side, and time one at a time",
    )
    arguments.add_argument("--folder", type=Path, help="keep the corpora here and use them again")
    arguments.add_argument("--results", type=Path, default=RESULTS, help="where the loss curves go")
    chosen = arguments.parse_args()
    threads = ", one thread's CPU seconds" if chosen.clock == "cpu" else ""
    print(f"{machine()}, torch {torch.__version__}; trained on {data.device_name()}{threads}")
    chosen.ceiling = ceiling()
    print(f"large bf16 matrix products: {chosen.ceiling / 1e12:,.1f} TFLOP/s", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        timing = chosen.rounds, chosen.warm_up, chosen.steps, chosen.clock, chosen.turns
        benches = [Bench(s, _corpus(folder, data.SHAPES[s].length), *timing) for s in chosen.shapes]
        for part in chosen.parts:
            PARTS[part](benches, chosen)


def _corpus(folder: Path, length: int) -> Path:
    packed = folder / f"packed-{length}"
    if not packed.exists():
        from benchmarks.training import corpus  # it needs packages that a GPU machine may lack

        corpus.write(folder, length)
    return packed


def pretraining(benches: list[Bench], chosen: Chosen) -> None:
    """Measure throughput of pretraining.

    Args:
        benches: The models.
        chosen: The command line's options.
    """
    peers = [peer for peer in chosen.peers if peer != SAVING]
    show("pretraining", {bench: bench.best("pretraining", peers) for bench in benches}, chosen.ceiling)


def lora(benches: list[Bench], chosen: Chosen) -> None:
    """Measure throughput of fine-tuning with LoRA.

    Args:
        benches: The models.
        chosen: The command line's options.
    """
    peers = [peer for peer in chosen.peers if peer != SAVING and peer.startswith((OURS, TRAINER))]
    figures = {bench: bench.best("lora", peers) for bench in benches}
    show(f"LoRA of rank {data.LORA.lora.rank}", figures, chosen.ceiling)
    learned = {bench.name: next(iter(runs.values()))["learned"] for bench, runs in figures.items()}
    print("of these tokens are learned: " + ", ".join(f"{name} {part:.0%}" for name, part in learned.items()))


def show(title: str, figures: dict[Bench, Figures], ceiling: float) -> None:
    """Print tokens a second, their ratios and model FLOPs utilisation (MFU).

    MFU is the FLOPs of a step, as our engine counts them and for all peers alike, by the seconds of the step, relative
    to large matrix products.

    Args:
        title: What was trained.
        figures: Figures of the peers, by model.
        ceiling: FLOPs a second of large matrix products.
    """
    print(f"\n| {title} | | tokens/s | of ours | MFU | peak MiB |\n|---|---|---|---|---|---|")
    for bench, runs in figures.items():
        fastest = _fastest(runs, OURS)
        flops = max(run["flops"] or 0 for run in runs.values())
        for peer, run in runs.items():
            speed = bench.shape.batch * bench.shape.length / run["step_seconds"]
            used = flops / run["step_seconds"] / ceiling
            cells = f"{speed:,.0f} | {fastest / run['step_seconds']:.2f} | {used:.1%} | {run['peak_mib']:,.0f}"
            print(f"| {_model(bench, run['parameters'])} | {peer} | {cells} |")
    for bench, runs in figures.items():
        others = dict.fromkeys(peer.partition(",")[0] for peer in runs if not peer.startswith(OURS))
        ratios = [f"{_fastest(runs, other) / _fastest(runs, OURS):.2f} times {other}" for other in others]
        print(f"\n{bench.name}, each at its best: " + (", ".join(ratios) or "no peers"))


def _fastest(runs: Figures, family: str) -> float:
    return min(run["step_seconds"] for peer, run in runs.items() if peer.startswith(family))


def _model(bench: Bench, parameters: int) -> str:
    return f"{parameters / 1e6:.1f} M, {bench.shape.batch} x {bench.shape.length}"


def checkpoints(benches: list[Bench], chosen: Chosen) -> None:
    """Measure the time that one checkpoint takes from the loop, with one after every step, and its share of 30 s.

    Args:
        benches: The models.
        chosen: The command line's options.
    """
    print(f"\n| checkpoints | step s | with one checkpoint s | of {EVERY} s |\n|---|---|---|---|")
    for bench in benches:
        runs = bench.best("pretraining", [AS_WRITTEN, SAVING])
        plain, saving = (runs[peer]["step_seconds"] for peer in (AS_WRITTEN, SAVING))
        share = (saving - plain) / EVERY
        print(f"| {_model(bench, runs[SAVING]['parameters'])} | {plain:.3f} | {saving:.3f} | {share:.1%} |")


def start(benches: list[Bench], chosen: Chosen) -> None:
    """Measure the time to the end of the first step; neither side compiles, which pays off in long trainings only.

    Args:
        benches: The models.
        chosen: The command line's options.
    """
    print("\n| start to end of first step | modelmill s | bare script s | ratio |\n|---|---|---|---|")
    for bench in benches:
        seconds = bench.start()
        ours, bare = seconds["modelmill"], seconds["bare script"]
        print(f"| {bench.name} | {ours:.1f} | {bare:.1f} | {ours / bare:.2f} |")


def loss(benches: list[Bench], chosen: Chosen) -> None:
    """Measure the validation loss of the first model, and write the curves into a file.

    Args:
        benches: The models.
        chosen: The command line's options.
    """
    bench, steps = benches[0], chosen.loss_steps
    curves = {peer: bench.curve(peer, steps) for peer in (OURS, TRAINER)}
    tokens = bench.shape.batch * bench.shape.length
    print(f"\n| {bench.name} after {tokens * steps:,} tokens | validation loss |\n|---|---|")
    for peer, curve in curves.items():
        print(f"| {peer} | {curve['final']:.4f} |")
    chosen.results.mkdir(exist_ok=True)
    with open(chosen.results / "validation_loss.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["tokens", *curves])
        for points in zip(*(curve["points"] for curve in curves.values()), strict=True):
            rows.writerow([points[0][0] * tokens, *(f"{value:.4f}" for _, value in points)])


PARTS: dict[str, Callable[[list[Bench], Chosen], None]] = {
    part.__name__: part for part in (pretraining, lora, checkpoints, start, loss)
}


if __name__ == "__main__":
    main()
