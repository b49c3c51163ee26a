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


def test_the_corpus_is_tokenised_and_packed_at_two_sizes() -> None:
    """Ours alone: the peers' library is installed by `make bench-data` only."""
    small = ["--copies", "2", "--rounds", "1", "--processes", "2", "--peers", "modelmill"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench_tokens", *small],
        cwd=cli.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| modelmill |") == 2 and "times the memory of the smaller corpus" in done.stdout
