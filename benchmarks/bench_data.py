"""`make bench-data`: the data contract against its peers, in one run on one machine."""

import argparse
import contextlib
import io
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contract import data, one_of_many
from benchmarks.contract.peers import PEERS
from benchmarks.machine import machine


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=10_000_000, help="of the larger of the two data sets")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--shards", type=int, default=100, help="of which one changes")
    arguments.add_argument("--files", type=int, default=60, help="in each of these shards")
    arguments.add_argument("--folder", type=Path, help="keep the data here and use it again")
    chosen = arguments.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        figures = {
            rows: {peer: best(peer, data.write(folder, rows), chosen.rounds) for peer in PEERS}
            for rows in (chosen.rows // 10, chosen.rows)
        }
        show(figures)
        logging.disable(logging.CRITICAL)
        with contextlib.redirect_stdout(io.StringIO()):
            changed = one_of_many.measure(Path(scratch), chosen.shards, chosen.files)
    first, again = sum(changed["first"].values()), sum(changed["again"].values())
    print(
        f"\none of {changed['shards']} shards changed: validation and preprocessing {first:.1f} s at first, "
        f"{again:.2f} s again, {changed['share']:.1%}"
    )


def best(peer: str, shards: Path, rounds: int) -> dict[str, Any]:
    """Return the fastest of the rounds, with the largest peak.

    Args:
        peer: Name of the peer.
        shards: Folder of the shards.
        rounds: How often it runs.
    """
    command = [sys.executable, "-m", "benchmarks.contract.peers", peer, str(shards)]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(rounds)]
    return min(runs, key=lambda run: run["seconds"]) | {"peak_mib": max(run["peak_mib"] for run in runs)}


def show(figures: dict[int, dict[str, dict[str, Any]]]) -> None:
    """Print the table, and the ratios of the larger data.

    Args:
        figures: Figures of each peer, by number of rows.

    Raises:
        SystemExit: The peers' verdicts differ.
    """
    print("\n| rows | | seconds | with imports | peak MiB |\n|---|---|---|---|---|")
    for rows, peers in figures.items():
        verdicts = {str(run["verdicts"]) for run in peers.values()}
        if len(verdicts) != 1:
            raise SystemExit(f"the peers disagree: {peers}")
        for peer, run in peers.items():
            cells = f"{run['seconds']:.2f} | {run['with_imports']:.2f} | {run['peak_mib']:.0f}"
            print(f"| {rows:,} | {peer.replace('_', ' ')} | {cells} |")
    small, large = figures.values()
    ours, pandas, by_hand = (large[name] for name in ("modelmill", "great_expectations_on_pandas", "duckdb_by_hand"))
    print(
        f"\n{pandas['seconds'] / ours['seconds']:.1f} times as fast as Great Expectations on pandas "
        f"({pandas['with_imports'] / ours['with_imports']:.1f} with imports); "
        f"{ours['seconds'] / by_hand['seconds']:.2f} times the time of SQL by hand; "
        f"{ours['peak_mib'] / small['modelmill']['peak_mib']:.2f} times the memory of a tenth of the rows"
    )


if __name__ == "__main__":
    main()
