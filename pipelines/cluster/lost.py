"""Runs that are lost: KFP lists them as running for ever, for their Workflow was deleted and nobody tells it so."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from modelmill.core.errors import ModelmillError
from modelmill.runtime import run_records
from modelmill.store import Store

# Steps log and report progress within seconds or minutes; a pod may wait so long for a node that is being added.
LOST_SECONDS = 1800.0
_GOES_ON = {"PENDING", "RUNNING", "CANCELING"}


def is_lost(run: Any, store: Callable[[], Store | None]) -> bool:
    """Return whether a run has given no sign of life for LOST_SECONDS.

    KFP's tasks can stop changing while the run goes on, so a store that cannot be asked leaves a run as it is.

    Args:
        run: KFP's run.
        store: Returns the cluster's store, None if it cannot be reached; called only where KFP's own signs are old.
    """
    return silent_seconds(run, store) > LOST_SECONDS


def silent_seconds(run: Any, store: Callable[[], Store | None]) -> float:
    """Return for how long nothing of a run has moved; 0 where it has ended or the store cannot be asked.

    Args:
        run: KFP's run.
        store: As in `is_lost`.
    """
    if run.state not in _GOES_ON or not _is_silent(told := _told_by_kfp(run)):
        return 0.0
    try:
        opened = store()
        if opened is None or run_records.read_outcome(opened, run.run_id) is not None:
            return 0.0
        written = [stat.modified for _, stat in opened.stats(f"runs/{run.run_id}/")]
    except ModelmillError:
        return 0.0
    return max(time.time() - max([told, *written]), 0.0)


def explanation(run: Any, seconds: float) -> str:
    """Return what a person is told of a lost run.

    Args:
        run: KFP's run.
        seconds: For how long nothing of it has moved.
    """
    return (
        f"KFP says {run.state}, but nothing of it has moved for {seconds / 60:.0f} minutes: its Workflow was deleted, "
        "or its pod waits for a node (kubectl get workflows,pods shows which); resume starts it again"
    )


def _is_silent(last: float) -> bool:
    return time.time() - last > LOST_SECONDS


def _told_by_kfp(run: Any) -> float:
    """Return the last time at which KFP has seen the run change."""
    return max((at.timestamp() for at in _times(run) if at is not None and at.year > 1), default=0.0)


def _times(run: Any) -> Iterable[datetime | None]:
    yield run.created_at
    yield from (one.update_time for one in run.state_history or [])
    for task in (run.run_details.task_details if run.run_details else None) or []:
        # A task that has not ended does so in the year 1.
        yield from (task.start_time, task.end_time)
        yield from (one.update_time for one in task.state_history or [])
