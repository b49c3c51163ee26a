"""What a run left out of its data."""

import json
from typing import Any

from modelmill.core.errors import UserError
from modelmill.runtime import run_records
from modelmill.store import KeyNotFound, manifest, open_store


def read(uri: str, run_id: str | None) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """Read what a run, or the validation that it reused, left out.

    Args:
        uri: URI of the store.
        run_id: The run; None for the latest.

    Returns:
        The run's id, and its quarantined `shards`, unusable `files` and malformed `rows`.

    Raises:
        UserError: There is no such run.
    """
    store = open_store(uri)
    known = run_records.run_ids(store)
    chosen = run_id or (known[-1] if known else "")
    if chosen not in known:
        which = f"no run {run_id}" if run_id else "no runs"
        latest = f"the latest is {known[-1]}" if known else "there are none yet; start one with modelmill run RECIPE"
        raise UserError(f"--store {uri}: {which}; {latest}")
    record = run_records.read_step(store, chosen, "data_validation")
    made = manifest.load(store, record.outputs["validation"]) if record and record.outputs else None
    entry = next((e for e in made.entries if e.path == run_records.QUARANTINE), None) if made else None
    try:
        key = f"runs/{chosen}/validation/{run_records.QUARANTINE}"
        data = manifest.read_entry(store, entry) if entry else store.get(key)
    except KeyNotFound:
        return chosen, {"shards": [], "files": [], "rows": []}
    return chosen, {"files": [], "rows": [], **json.loads(data)}
