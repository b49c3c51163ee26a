"""`modelmill data quarantine`."""

from modelmill.pipelines.commands.options import DEFAULT_STORE, AsJson, LatestRun, StoreUri
from modelmill.pipelines.display.text import print_json

EXAMPLE = "modelmill data quarantine"


def command(run_id: LatestRun = None, store: StoreUri = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """List what a run left out, and why: shards, malformed rows, unusable images or recordings."""
    from modelmill.pipelines import quarantine
    from modelmill.pipelines.display import quarantine as lines

    run, left_out = quarantine.read(store, run_id)
    if as_json:
        print_json({"run_id": run, **left_out})
    else:
        lines.show(run, left_out)
