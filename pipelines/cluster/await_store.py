"""Wait for a cluster's object store: `python -m modelmill.pipelines.cluster.await_store CLUSTER_FILE`.

In a new cluster the store answers minutes after the first pods have started, and its buckets are made later still.
"""

import sys
import time
from pathlib import Path

from modelmill.core.errors import ModelmillError, one_line
from modelmill.pipelines.cluster import reach
from modelmill.pipelines.cluster.settings import load

SECONDS, PAUSE_SECONDS = 600.0, 2.0


def wait(file: Path, seconds: float = SECONDS) -> str:
    """Return how the store is reached, once it can be written; say why not, whenever that changes.

    Args:
        file: The cluster's file.
        seconds: Time to wait.

    Raises:
        UserError: The file cannot be read.
        ModelmillError: The store cannot be written after all that time.
    """
    cluster, end, said = load(file), time.monotonic() + seconds, ""
    while True:
        store, reason = reach.store_of(cluster)
        try:
            if store is not None:
                store.check()
                return reason
        except ModelmillError as error:
            reason = one_line(error)
        if time.monotonic() > end:
            raise ModelmillError(f"{cluster.store}: not after {seconds:.0f} s: {reason}")
        if reason != said:
            print(f"waiting for {cluster.store}: {reason}", flush=True)
        said = reason
        time.sleep(PAUSE_SECONDS)


def main() -> None:
    """Wait for the store of the cluster file that the command line names."""
    try:
        print(f"{wait(Path(sys.argv[1]))} can be written", flush=True)
    except ModelmillError as error:
        print(f"modelmill: {one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
