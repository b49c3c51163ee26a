"""The benchmarks run, and their peers agree; what they measure is for `make bench-data`."""

import subprocess
import sys

from tests import cli


def test_bench_data_prints_its_table_and_the_cost_of_one_changed_shard() -> None:
    small = ["--rows", "20000", "--rounds", "1", "--shards", "3", "--files", "20"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_data", *small],
        cwd=cli.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| 20,000 |") == 3 and "one of 3 shards changed" in done.stdout
