"""The same ten expectations, judged three ways; each prints its verdicts, seconds and peak memory as JSON.

Run as `python -m benchmarks.contract.peers NAME FOLDER`, in a process each.
"""

import json
import logging
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

STARTED = time.perf_counter()


def modelmill(shards: Path, suite: dict) -> Callable[[], list[bool]]:
    """Return a function that judges with our data contract.

    Args:
        shards: Folder of the shards.
        suite: The suite.
    """
    import modelmill.components.data_validation.gx_judge
    import modelmill.components.data_validation.shard_states  # noqa: F401
    from modelmill.components.data_validation import contract
    from modelmill.data import shards as data_shards

    def judge() -> list[bool]:
        """Return the verdict of each expectation."""
        judged = contract.judge(
            str(shards), data_shards.find(str(shards), "auto"), suite, lambda done, total, text: None
        )
        return [one["success"] for one in judged.result["results"]]

    return judge


def great_expectations_on_pandas(shards: Path, suite: dict) -> Callable[[], list[bool]]:
    """Return a function that judges with Great Expectations on one frame of pandas.

    Args:
        shards: Folder of the shards.
        suite: The suite.
    """
    import pyarrow.parquet as pq

    from tests import gx_on_pandas

    def judge() -> list[bool]:
        """Return the verdict of each expectation."""
        return [one["success"] for one in gx_on_pandas.on_frame(suite, pq.read_table(shards).to_pandas())]

    return judge


def duckdb_by_hand(shards: Path, suite: dict) -> Callable[[], list[bool]]:
    """Return a function that judges with one query in SQL, written for this suite.

    Args:
        shards: Folder of the shards.
        suite: The suite.
    """
    import duckdb

    from benchmarks.contract.data import CATEGORIES, CODE

    query = f"""
        SELECT count(*), count(DISTINCT id) = count(id), count(score) / count(*),
            avg((quantity BETWEEN 1 AND 99)::INT), avg((price BETWEEN 0 AND 99.9)::INT),
            avg((category IN {tuple(CATEGORIES[:-1])})::INT), avg(regexp_matches(code, '{CODE}')::INT),
            avg((length(code) = 10)::INT), avg(score), stddev_samp(price)
        FROM read_parquet('{shards}/*.parquet')"""

    def judge() -> list[bool]:
        """Return the verdict of each expectation."""
        rows, unique, score, quantity, price, category, code, length, mean, deviation = duckdb.sql(query).fetchall()[0]
        shares = [score >= 0.9, quantity >= 0.98, price >= 0.98, category >= 0.9, code >= 0.99, length == 1]
        return [rows >= 1, unique, *shares, 49 <= mean <= 51, 20 <= deviation <= 40]

    return judge


PEERS = {peer.__name__: peer for peer in (modelmill, duckdb_by_hand, great_expectations_on_pandas)}


def main(name: str, shards: str) -> None:
    """Judge with one peer and print its figures.

    Args:
        name: Name of the peer.
        shards: Folder of the shards.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    judge = PEERS[name](Path(shards), json.loads((Path(shards).parent / "suite.json").read_text()))
    imported = time.perf_counter()
    verdicts = judge()
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"seconds": ended - imported, "with_imports": ended - STARTED, "peak_mib": peak}
    print(json.dumps({"verdicts": [bool(v) for v in verdicts], **figures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
