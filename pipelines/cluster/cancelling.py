"""Cancel a run: its steps are asked to save and end, KFP stops it, and what it has started elsewhere is deleted."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import reach, run_trainjobs, submitting
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.run import records
from modelmill.runtime import cancellation
from modelmill.runtime.cancellation import Cancellation
from modelmill.store import Store, StoreError

ENDED = {"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"}
POLL_SECONDS = 2.0
# Steps see within seconds that they are to end; what has not saved by then is stopped without.
SAVING_SECONDS = 60.0


class Asked(NamedTuple):
    """A cancellation that was asked for.

    Attributes:
        cancelled: What stands in the store; None where it could not be written.
        notes: What could not be done from here, one line each.
    """

    cancelled: Cancellation | None
    notes: list[str]


def cancel(run_id: str, cluster: Cluster, by: str, say: Callable[[str], None] = lambda line: None) -> Asked:
    """Cancel a run. Whoever does it again is told the same, and finishes what another has begun.

    Args:
        run_id: The run.
        cluster: The cluster.
        by: Who cancels it.
        say: Is told what is waited for.

    Raises:
        UserError: There is no such run, or it has ended already.
    """
    store, why = reach.store_of(cluster)
    with clients.connected(cluster) as client:
        run = submitting.get_run(client, run_id)
        if run.state in ENDED:
            raise UserError(f"{run_id}: has ended already ({_ended(run, store)})")
        asked = _ask(run_id, store, why, by)
        if run.state != "CANCELING":
            if store is not None and asked.cancelled is not None:
                _wait(client, run_id, store, say)
            _terminate(client, run_id)
    if note := _delete_trainjobs(run_id, store, cluster):
        asked.notes.append(note)
    return asked


def was_cancelled(run: Any) -> bool:
    """Return whether KFP was asked to stop a run, which it then calls FAILED as any other.

    Args:
        run: KFP's run.
    """
    states = {one.state for one in run.state_history or []}
    return run.state in {"CANCELING", "CANCELED"} or (run.state == "FAILED" and "CANCELING" in states)


def _ask(run_id: str, store: Store | None, why: str, by: str) -> Asked:
    """Leave the word that the steps read, before anything else is done."""
    lost = "its steps are stopped without saving first, and nothing says who has cancelled it"
    if store is None:
        return Asked(None, [f"the store is not reachable from here: {lost} ({why})"])
    try:
        return Asked(cancellation.write(store, run_id, by), [])
    except StoreError as error:
        return Asked(None, [f"the store does not answer: {lost} ({one_line(error)})"])


def _wait(client: Any, run_id: str, store: Store, say: Callable[[str], None]) -> None:
    """Wait until the run's steps have saved and ended, or for SAVING_SECONDS."""
    deadline, told = time.monotonic() + SAVING_SECONDS, False
    while time.monotonic() < deadline:
        try:
            running = [record.name for record in records(store, run_id) if record.status == "running"]
        except ModelmillError:
            running = ["steps"]
        if not running or submitting.get_run(client, run_id).state in ENDED:
            return
        if not told:
            say(f"{', '.join(running)}: asked to save and end; stopped in {SAVING_SECONDS:.0f} s at the latest")
            told = True
        time.sleep(POLL_SECONDS)


def _terminate(client: Any, run_id: str) -> None:
    """Have KFP stop the run; one that is being stopped, or has ended meanwhile, is refused by it and needs nothing."""
    import kfp_server_api as api

    try:
        clients.retried(lambda: client.terminate_run(run_id))
    except api.ApiException as error:
        if error.status != 400 or submitting.get_run(client, run_id).state not in {*ENDED, "CANCELING"}:
            raise


def _delete_trainjobs(run_id: str, store: Store | None, cluster: Cluster) -> str:
    """Delete the run's TrainJobs; return what could not be done, if anything."""
    try:
        if store is not None and next(iter(store.list(f"runs/{run_id}/jobs/")), None) is None:
            return ""
    except StoreError:
        pass  # there may be some
    return run_trainjobs.delete(run_id, cluster.kfp.namespace)


def _ended(run: Any, store: Store | None) -> str:
    cancelled = cancellation.seen(store, run.run_id) if store is not None and run.state != "SUCCEEDED" else None
    return str(cancelled) if cancelled else str(run.state).lower()
