"""From schedules that are wanted and recurring runs that are there to the changes that make them agree.

A recurring run of KFP cannot be changed, only switched on and off; so a definition that differs is another recurring
run. Ours are told by their name and by the last line of their description, which holds the definition's digest. New
ones are made before old ones are deleted: whoever is interrupted leaves a schedule twice, never not at all, and the
next apply deletes what is left over.

Deleting must not end what runs: Kubernetes deletes the Workflows of a deleted recurring run unless KFP, 2.16 or later,
is asked to leave them (`ORPHAN`). An older one is asked to delete only what has no run under way.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import server_limits
from modelmill.pipelines.cluster.submitting import RUNNING, Uploaded
from modelmill.pipelines.cluster.zones import Part

PREFIX = "modelmill-"
# First version of KFP that can delete a recurring run and leave its runs.
ORPHANING = (2, 16)
# For so long a run that a recurring run has just started may not be in KFP's list.
LISTING_SECONDS = 10.0
_MARK = re.compile(r"^modelmill schedule ([a-z0-9-]+) ([0-9a-f]{64})$")


class Wanted(NamedTuple):
    """A recurring run as it should be.

    `pipeline` is the name and `version` the digest of the compiled file, `recipe` the key of the recipe in the store.
    """

    schedule: str
    part: Part
    pipeline: str
    version: str
    recipe: str
    service_account: str
    max_concurrency: int = 1
    catch_up: bool = False
    enabled: bool = True
    text: str = ""

    @property
    def digest(self) -> str:
        """Return the digest of all that cannot be changed once the recurring run is there."""
        part = [str(at) if at else None for at in self.part]
        kept = [self.schedule, part, self.pipeline, self.version, self.recipe, self.service_account]
        return hashlib.sha256(json.dumps([*kept, self.max_concurrency, self.catch_up]).encode()).hexdigest()

    @property
    def description(self) -> str:
        """Return the description of the recurring run, whose last line holds the digest; KFP takes 255 characters."""
        mark = f"\nmodelmill schedule {self.schedule} {self.digest}"
        return server_limits.cut(self.text, len(mark)) + mark


class Existing(NamedTuple):
    """A recurring run of ours that is there."""

    id: str
    schedule: str
    digest: str
    enabled: bool


class Change(NamedTuple):
    """A request to the cluster.

    Attributes:
        action: What is done.
        schedule: The schedule's name.
        reason: Why, in words.
        id: The recurring run that is there.
        wanted: The recurring run that is to be there.
    """

    action: Literal["create", "enable", "disable", "delete"]
    schedule: str
    reason: str
    id: str | None = None
    wanted: Wanted | None = None


def recognise(run: Any) -> Existing | None:
    """Return a recurring run if it is ours, which its name and its description both say, else None."""
    mark = _MARK.match((run.description or "").rpartition("\n")[2])
    if mark is None or run.display_name != PREFIX + mark[1]:
        return None
    return Existing(run.recurring_run_id, mark[1], mark[2], str(run.status or run.mode).upper().startswith("ENABLE"))


def difference(wanted: Iterable[Wanted], present: Iterable[Existing]) -> list[Change]:
    """Return what to do, in this order: create, then switch, then delete.

    Args:
        wanted: The recurring runs as they should be.
        present: Those that are there.
    """
    there = sorted(present)
    known = {one.schedule for one in there}
    target = {one.digest: one for one in wanted}
    first: dict[str, Existing] = {}
    for one in there:
        first.setdefault(one.digest, one)
    created = [
        Change("create", one.schedule, "its definition changed" if one.schedule in known else "new", wanted=one)
        for digest, one in target.items()
        if digest not in first
    ]
    switched = [
        Change("enable" if target[digest].enabled else "disable", one.schedule, "as the file says", one.id)
        for digest, one in first.items()
        if digest in target and target[digest].enabled != one.enabled
    ]
    named = {one.schedule for one in target.values()}
    deleted = [
        Change("delete", one.schedule, _why_delete(one, named, target), one.id)
        for one in there
        if one.digest not in target or first[one.digest] != one
    ]
    return created + switched + deleted


def _why_delete(one: Existing, named: set[str], target: dict[str, Wanted]) -> str:
    if one.schedule not in named:
        return "not in the file"
    return "there twice" if one.digest in target else "replaced"


def existing(client: Any, experiment_id: str) -> list[Existing]:
    """Return every recurring run of ours in an experiment."""
    runs = clients.pages(client.list_recurring_runs, "recurring_runs", experiment_id=experiment_id)
    return [one for one in map(recognise, runs) if one is not None]


def create(client: Any, experiment_id: str, wanted: Wanted, version: Uploaded) -> None:
    """Make a recurring run; one whose answer was lost is recognised and not made twice.

    Args:
        client: KFP's client.
        experiment_id: The experiment.
        wanted: The recurring run.
        version: What it runs.
    """
    import kfp_server_api as api

    recurring = api.V2beta1RecurringRun(
        experiment_id=experiment_id,
        display_name=PREFIX + wanted.schedule,
        description=wanted.description,
        mode=api.RecurringRunMode.ENABLE if wanted.enabled else api.RecurringRunMode.DISABLE,
        trigger=api.V2beta1Trigger(
            cron_schedule=api.V2beta1CronSchedule(
                cron=wanted.part.line, start_time=_start(wanted.part.start), end_time=_before(wanted.part.end)
            )
        ),
        max_concurrency=str(wanted.max_concurrency),
        no_catchup=not wanted.catch_up,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=api.V2beta1RuntimeConfig(parameters={"recipe": wanted.recipe}),
        service_account=wanted.service_account,
        plugins_input=server_limits.plugins_off(client),
    )
    clients.found_or_made(
        lambda: next((one for one in existing(client, experiment_id) if one.digest == wanted.digest), None),
        lambda: client.recurring_runs.recurring_run_service_create_recurring_run(recurring_run=recurring),
    )


def switch(client: Any, change: Change) -> None:
    """Enable or disable a recurring run.

    Args:
        client: KFP's client.
        change: What is to be done, which is no deletion.
    """
    call = {"enable": client.enable_recurring_run, "disable": client.disable_recurring_run}[change.action]
    clients.retried(lambda: call(change.id))


def delete(client: Any, experiment_id: str, changes: list[Change]) -> list[Change]:
    """Delete recurring runs without ending a run that they have started, and return what was done.

    Where KFP would end it, the recurring run is only disabled; the next `apply` finds it again. One that somebody else
    has deleted is no failure.

    Args:
        client: KFP's client.
        experiment_id: The experiment.
        changes: The deletions.
    """
    orphans = clients.is_at_least(client, *ORPHANING)
    busy = {} if orphans or not changes else _under_way_when_disabled(client, experiment_id, changes)
    for change in changes:
        if change.id not in busy:
            _if_there(_deletion(client, change.id, orphans))
    return [_put_off(change, busy[change.id]) if change.id in busy else change for change in changes]


def _deletion(client: Any, recurring_id: str | None, orphans: bool) -> Callable[[], Any]:
    policy = {"propagation_policy": "ORPHAN"} if orphans else {}
    service = client.recurring_runs
    return lambda: service.recurring_run_service_delete_recurring_run(recurring_id, **policy)


def _under_way_when_disabled(client: Any, experiment_id: str, changes: list[Change]) -> dict[str | None, str]:
    """Disable recurring runs, so that they start nothing more, and return a run under way of each that has one."""
    for change in changes:
        _if_there(lambda change=change: client.disable_recurring_run(change.id))  # type: ignore[misc]
    time.sleep(LISTING_SECONDS)
    runs = clients.pages(client.list_runs, "runs", experiment_id=experiment_id, sort_by="created_at desc")
    asked = {change.id for change in changes}
    # A run that has just begun has no state yet.
    goes_on = {*RUNNING, None}
    return {run.recurring_run_id: run.run_id for run in runs if run.state in goes_on and run.recurring_run_id in asked}


def _put_off(change: Change, run_id: str) -> Change:
    why = f"{change.reason}; this KFP would end its run {run_id} with it, so the next apply after that run deletes it"
    return change._replace(action="disable", reason=why)


def _if_there(call: Callable[[], Any]) -> None:
    try:
        clients.retried(call)
    except Exception as error:
        if getattr(error, "status", None) != 404:
            raise


def _start(at: datetime | None) -> str | None:
    """Return a start for KFP; one that is past is left away, since KFP would catch up on all since."""
    return _before(at) if at is not None and at > datetime.now(UTC) else None


def _before(at: datetime | None) -> str | None:
    """Return the last second before: KFP runs what falls after a start, and up to an end."""
    return (at - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None
