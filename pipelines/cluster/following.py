"""Runs on a cluster as a person sees them: what state they are in, how far their steps are, what they said."""

import time
from collections.abc import Callable
from typing import Any

from modelmill.core.errors import Cancelled, Preempted, UserError, one_line
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import submitting
from modelmill.pipelines.cluster.cancelling import ENDED, was_cancelled
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.run import records, summary
from modelmill.recipe.step_specs import RECORDED, STEPS
from modelmill.runtime import cancellation, run_records
from modelmill.runtime.run_records import Problem, StepRecord
from modelmill.store import KeyNotFound, Store

POLL_SECONDS = 2.0
# A server that is being replaced is away for a minute or two; the run goes on without it.
PATIENCE = 100
_STATUS: dict[str, run_records.Status] = {
    "SUCCEEDED": "ran",
    "FAILED": "failed",
    "CANCELED": "failed",
    "RUNNING": "running",
}


def follow(client: Any, run_id: str, store: Store | None, watch: Callable[[list[StepRecord]], None]) -> Any:
    """Wait for a run's end and return KFP's run.

    Args:
        client: KFP's client.
        run_id: The run.
        store: The cluster's store; None where it cannot be reached from here.
        watch: Is shown the steps' records until then.
    """
    failures = 0
    while True:
        try:
            run, failures = submitting.get_run(client, run_id), 0
            watch(steps(run, store))
            if run.state in ENDED:
                return run
        except Exception as error:
            failures += 1
            if not clients.is_passing(error) or failures > PATIENCE:
                raise
        time.sleep(POLL_SECONDS)


def steps(run: Any, store: Store | None) -> list[StepRecord]:
    """Return the records of the steps that have begun: their own in the store, else what KFP knows.

    Args:
        run: KFP's run.
        store: The cluster's store, if it can be reached.
    """
    if store is not None and (begun := records(store, run.run_id)):
        return begun
    return _as_kfp_knows(run)


def shown(run: Any, store: Store | None, cluster: Cluster) -> dict[str, Any]:
    """Return a run as one JSON object: the keys of `run --json`, and those that only a cluster's run has.

    `exit_code` is None while it goes on, and 0, 3 or another as it has ended.

    Args:
        run: KFP's run.
        store: The cluster's store, if it can be reached.
        cluster: The cluster.
    """
    begun = steps(run, store)
    described: dict[str, Any] = {"run_id": run.run_id, "steps": [_row(record, run) for record in begun]}
    cancelled = _cancelled(run, store)
    if store is not None and run_records.read_outcome(store, run.run_id) is not None:
        described = summary(store, run.run_id)
    elif run.state in ENDED:
        described |= _outcome_of_cancelled(begun, cancelled, run) if cancelled else _outcome_by_kfp(run)
    elif cancelled:
        described["reason"] = cancelled
    keys = ("outcome", "exit_code", "failed_step", "reason", "resume", "model", "report")
    return {**dict.fromkeys(keys), **described, **listed(run, cluster)}


def listed(run: Any, cluster: Cluster) -> dict[str, Any]:
    """Return a run as a row of a list."""
    return {
        "run_id": run.run_id,
        "name": run.display_name,
        "state": "CANCELED" if run.state == "FAILED" and was_cancelled(run) else run.state,
        "created": run.created_at.isoformat() if run.created_at else None,
        "ended": _ended(run),
        "description": run.description or "",
        "link": submitting.link(cluster, run.run_id),
    }


def recent(client: Any, cluster: Cluster, most: int) -> list[Any]:
    """Return the newest runs of the cluster's experiment.

    Args:
        client: KFP's client.
        cluster: The cluster.
        most: How many runs, at most.
    """
    experiment = clients.named(
        client.list_experiments, "experiments", cluster.kfp.experiment, namespace=cluster.kfp.namespace
    )
    if experiment is None:
        return []
    listing = clients.pages(client.list_runs, "runs", experiment_id=experiment.experiment_id, sort_by="created_at desc")
    return [run for run, _ in zip(listing, range(most), strict=False)]


def logs(run: Any, store: Store | None, step: str | None) -> dict[str, str]:
    """Return the log of each step, by step: from the store, else the error that KFP has of it.

    Args:
        run: KFP's run.
        store: The cluster's store, if it can be reached.
        step: The only step that is wanted; None for all.

    Raises:
        UserError: There is no log, or none of the step.
    """
    texts = (_stored_logs(store, run.run_id) if store else {}) or _errors(run)
    if step is None and texts:
        return texts
    if step in texts:
        return {step: texts[step]}
    of = f" of {step}" if step else ""
    known = f"there are those of {', '.join(texts)}" if texts else "the store has none and KFP has no error"
    raise UserError(f"{run.run_id}: no log{of} yet: {known}; kubectl logs shows a step that is running")


def _stored_logs(store: Store, run_id: str) -> dict[str, str]:
    prefix, texts = f"runs/{run_id}/logs/", {}
    for key in sorted(store.list(prefix)):
        if key.endswith(".txt"):
            try:
                texts[key.removeprefix(prefix).removesuffix(".txt")] = store.get(key).decode("utf-8", "replace")
            except KeyNotFound:
                continue
    order = list(RECORDED)
    return dict(sorted(texts.items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order)))


def _errors(run: Any) -> dict[str, str]:
    messages = {
        _step_of(task): f"{task.error.message}\n"
        for task in _tasks(run)
        if task.error is not None and task.error.message
    }
    if run.error is not None and run.error.message:
        messages.setdefault("run", f"{run.error.message}\n")
    return messages


def _as_kfp_knows(run: Any) -> list[StepRecord]:
    """Return a record a step, of its task details; of a step that was retried the last counts."""
    records_by_step = {}
    for task in _tasks(run):
        name, status = _step_of(task), _STATUS.get(task.state or "")
        if name not in STEPS or status is None:
            continue
        started = task.start_time or task.create_time
        took = (task.end_time - started).total_seconds() if task.end_time and started else 0.0
        problem = Problem(kind="failed", message=_why(task)) if status == "failed" else None
        records_by_step[name] = StepRecord(
            name=name,
            status=status,
            started=started.timestamp() if started else 0.0,
            seconds=max(took, 0.0),
            problem=problem,
        )
    return [records_by_step[name] for name in STEPS if name in records_by_step]


def _outcome_by_kfp(run: Any) -> dict[str, Any]:
    """Return a run's outcome by KFP's states alone.

    A gate that has failed looks like success without a registration.
    """
    states = {_step_of(task): task.state for task in _tasks(run)}
    failed = next((record for record in _as_kfp_knows(run) if record.status == "failed"), None)
    ended = {"resume": f"modelmill resume {run.run_id}", "failed_step": failed.name if failed else None}
    if run.state != "SUCCEEDED":
        said = run.error.message if run.error is not None and run.error.message else f"KFP says {run.state}"
        reason = failed.problem.message if failed and failed.problem else said
        return {"outcome": run.state.lower(), "exit_code": 1, "reason": reason, **ended}
    if states and states.get("registration") != "SUCCEEDED":
        reason = "the model was not registered: it missed its gate; the report says where"
        return {"outcome": "gate failed", "exit_code": 3, "reason": reason, **ended, "failed_step": "evaluation"}
    return {"outcome": "registered", "exit_code": 0, "reason": None, **ended}


def _cancelled(run: Any, store: Store | None) -> str:
    """Return by whom a run that did not succeed was cancelled, empty if it was not."""
    if run.state == "SUCCEEDED":
        return ""
    if store is not None and (known := cancellation.seen(store, run.run_id)):
        return str(known)
    return "cancelled; the store does not say by whom" if was_cancelled(run) else ""


def _outcome_of_cancelled(begun: list[StepRecord], cancelled: str, run: Any) -> dict[str, Any]:
    """Return the outcome of a run whose exit handler did not live to write it."""
    stopped = next((record for record in begun if record.status not in ("ran", "reused")), None)
    said = stopped.problem.message if stopped and stopped.status == "cancelled" and stopped.problem else cancelled
    return {
        "outcome": "cancelled",
        "exit_code": Cancelled.exit_code,
        "failed_step": stopped.name if stopped else None,
        "reason": said,
        "resume": f"modelmill resume {run.run_id}",
        "steps": [_row(record, run, "cancelled") for record in begun],
    }


def _row(record: StepRecord, run: Any, unfinished: str = "running") -> dict[str, Any]:
    """Return a step's row; `unfinished` is the status of one that has not said how it ended."""
    said = record.problem.message if record.problem else record.headline
    status = unfinished if record.status == "running" else record.status
    at = record.progress
    if record.status == "running" and at is not None:
        said = f"{at.text} ({at.done:g} of {at.total:g})" if at.total > 1 else at.text
    if run_records.goes_on(record) and run.state not in ENDED:
        status, said = run_records.GOES_ON, Preempted(said).done
    return {"name": record.name, "status": status, "seconds": round(record.seconds, 3), "headline": said}


def _tasks(run: Any) -> list[Any]:
    """Return the run's task details, oldest first."""
    tasks = (run.run_details.task_details if run.run_details else None) or []
    return sorted(tasks, key=lambda task: task.create_time.timestamp() if task.create_time else 0.0)


def _step_of(task: Any) -> str:
    return str(task.display_name or "").replace("-", "_")


def _why(task: Any) -> str:
    return one_line(Exception(task.error.message if task.error else f"KFP says {task.state}"))


def _ended(run: Any) -> str | None:
    """Return when a run ended; KFP gives a run that goes on the year 1970."""
    return run.finished_at.isoformat() if run.finished_at and run.finished_at.timestamp() > 0 else None
