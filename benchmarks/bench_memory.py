"""`make bench-data`, third table: memory and time of `data validate` on long lines, a large CSV and many columns."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.machine import machine

SUITE = {
    "name": "rows",
    "expectations": [
        {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "c0"}},
    ],
}


def main() -> None:
    """Run the benchmark as the command line says."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--line-mb", type=int, default=120, help="of the JSON line")
    arguments.add_argument("--csv-mb", type=int, default=300)
    arguments.add_argument("--columns", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    chosen = arguments.parse_args()
    inputs: dict[str, Callable[[], Iterator[str]]] = {
        "a CSV of one row": lambda: iter(["c0\n", "1\n"]),
        f"JSON, one line of {chosen.line_mb} MB": lambda: _json_line(chosen.line_mb * 1_000_000),
        f"a CSV of {chosen.csv_mb} MB": lambda: _csv(chosen.csv_mb * 1_000_000),
        **{f"a CSV of {n:,} columns, 20 rows": lambda n=n: _wide(n, rows=20) for n in chosen.columns},  # type: ignore[misc]
    }
    print(f"{machine()}\n\n| input | seconds | peak memory, MiB |\n|---|---|---|")
    for name, lines in inputs.items():
        seconds, peak = _validated(lines(), "jsonl" if name.startswith("JSON") else "csv")
        print(f"| {name} | {seconds:.1f} | {peak:,.0f} |", flush=True)


def _json_line(size: int) -> Iterator[str]:
    yield '{"c0": "'
    for _ in range(size // 1_000):
        yield "x" * 1_000
    yield '"}\n'


def _csv(size: int) -> Iterator[str]:
    yield "c0,c1,c2,c3\n"
    for number in range(size // 50):
        yield f"{number:012d},{number % 977:08.3f},word-{number % 91:05d},{number:015x}\n"


def _wide(columns: int, rows: int) -> Iterator[str]:
    yield ",".join(f"c{n}" for n in range(columns)) + "\n"
    for row in range(rows):
        yield ",".join(str(row * n) for n in range(columns)) + "\n"


def _validated(lines: Iterator[str], suffix: str) -> tuple[float, float]:
    """Return seconds and peak memory in MiB of a process that validates a file of these lines.

    Raises:
        SystemExit: The command failed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder, suite = Path(scratch, "data"), Path(scratch, "suite.json")
        folder.mkdir()
        suite.write_text(json.dumps(SUITE))
        with (folder / f"part.{suffix}").open("w") as file:
            file.writelines(lines)
        validate = ["-m", "modelmill.pipelines.cli", "data", "validate", str(folder), "--suite", str(suite)]
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, *validate], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"data validate ended with {os.waitstatus_to_exitcode(status)}")
        return time.monotonic() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
