"""`make bench-data`, second table: tokenising and packing against `datasets.map`, with the same tokenizer."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.tokens import data
from benchmarks.tokens.peers import PEERS


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--copies", type=int, default=16, help="of the standard library in the larger corpus")
    arguments.add_argument("--rounds", type=int, default=2)
    arguments.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    arguments.add_argument("--folder", type=Path, help="keep the corpora here and use them again")
    chosen = arguments.parse_args()
    print(f"{machine()}; {chosen.processes} processes")
    with tempfile.TemporaryDirectory() as scratch:
        corpora = [data.write(chosen.folder or Path(scratch), n) for n in (max(1, chosen.copies // 4), chosen.copies)]
        show({shards: best(shards, chosen.peers, chosen.rounds, chosen.processes) for shards in corpora})


def best(shards: Path, peers: list[str], rounds: int, processes: int) -> dict[str, dict[str, Any]]:
    """Return the fastest round of each peer, with the largest peak; the peers take turns.

    Args:
        shards: Folder of the corpus.
        peers: Names of the peers.
        rounds: How often each runs.
        processes: How many processes each may use.
    """
    runs = [{peer: _run(peer, shards, processes) for peer in peers} for _ in range(rounds)]
    return {
        peer: min((run[peer] for run in runs), key=lambda one: one["seconds"])
        | {"peak_mib": max(run[peer]["peak_mib"] for run in runs)}
        for peer in peers
    }


def _run(peer: str, shards: Path, processes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.tokens.peers", peer, str(shards), str(processes)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def show(figures: dict[Path, dict[str, dict[str, Any]]]) -> None:
    """Print the table, and the ratios of the larger corpus.

    Args:
        figures: Figures of each peer, by folder of the corpus.

    Raises:
        SystemExit: The peers counted different numbers of tokens.
    """
    print("\n| tokens | | seconds | tokens/s | peak MiB |\n|---|---|---|---|---|")
    for peers in figures.values():
        if len({run["tokens"] for run in peers.values()}) != 1:
            raise SystemExit(f"the peers disagree: {peers}")
        for peer, run in peers.items():
            cells = f"{run['seconds']:.1f} | {run['tokens'] / run['seconds']:,.0f} | {run['peak_mib']:.0f}"
            print(f"| {run['tokens']:,} | {peer.replace('_', ' ')} | {cells} |")
    small, large = figures.values()
    ours = large["modelmill"]
    ratios = [
        f"{run['seconds'] / ours['seconds']:.1f} times as fast as {peer.replace('_', ' ')}"
        for peer, run in large.items()
        if run is not ours
    ]
    memory = f"{ours['peak_mib'] / small['modelmill']['peak_mib']:.2f} times the memory of the smaller corpus"
    print("\n" + "; ".join([*ratios, memory]))


if __name__ == "__main__":
    main()
