"""Runs on a cluster as a person sees them: what state they are in, how far their steps are, what they said."""

import functools
from typing import Any

from modelmill.core.errors import Cancelled, Preempted, UserError, one_line
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import lost, reach, submitting
from modelmill.pipelines.cluster.cancelling import ENDED, was_cancelled
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.run import records, summary
from modelmill.recipe.step_specs import RECORDED, STEPS
from modelmill.runtime import cancellation, run_records
from modelmill.runtime.run_records import Problem, StepRecord
from modelmill.store import KeyNotFound, Store

_UNKNOWN = (
    "KFP says SUCCEEDED, but whether the model was registered or missed its gate is in the store, which has no outcome "
    "of this run or is not reachable from here (AWS_ENDPOINT_URL may name a forwarded port); status looks again"
)
_STATUS: dict[str, run_records.Status] = {
    "SUCCEEDED": "ran",
    "FAILED": "failed",
    "CANCELED": "failed",
    "RUNNING": "running",
}


def steps(run: Any, store: Store | None) -> list[StepRecord]:
    """Return the records of the steps that have begun, as `known_steps` puts them together.

    Args:
        run: KFP's run.
        store: The cluster's store, if it can be reached.
    """
    return known_steps(run, records(store, run.run_id) if store is not None else [])


def known_steps(run: Any, recorded: list[StepRecord]) -> list[StepRecord]:
    """Return a record a step: its own where it has one, else what KFP's tasks hint at.

    KFP may have stopped updating its tasks: one that still runs in a run that has ended says nothing.

    Args:
        run: KFP's run.
        recorded: The steps' own records, from the store.
    """
    hints = {hint.name: hint for hint in _as_kfp_knows(run) if run.state not in ENDED or hint.status != "running"}
    known = hints | {record.name: record for record in recorded}
    return [known[name] for name in RECORDED if name in known]


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
        described |= (
            _outcome_of_cancelled(begun, cancelled, run)
            if cancelled
            else _without_outcome(run, begun, store is not None)
        )
    elif cancelled:
        described["reason"] = cancelled
    silent = lost.silent_seconds(run, lambda: store)
    if is_lost := silent > lost.LOST_SECONDS:
        described |= {"reason": lost.explanation(run, silent), "resume": f"modelmill resume {run.run_id}"}
    keys = ("outcome", "exit_code", "failed_step", "reason", "resume", "model", "report")
    return {**dict.fromkeys(keys), **described, **listed(run, cluster, is_lost)}


def listed(run: Any, cluster: Cluster, is_lost: bool = False) -> dict[str, Any]:
    """Return a run as a row of a list.

    Args:
        run: KFP's run.
        cluster: The cluster.
        is_lost: Whether the run is lost, whatever KFP says.
    """
    return {
        "run_id": run.run_id,
        "name": run.display_name,
        "state": "lost" if is_lost else "CANCELED" if run.state == "FAILED" and was_cancelled(run) else run.state,
        "created": run.created_at.isoformat() if run.created_at else None,
        "ended": _ended(run),
        "description": run.description or "",
        "link": submitting.link(cluster, run.run_id),
    }


def listing(runs: list[Any], cluster: Cluster) -> list[dict[str, Any]]:
    """Return runs as rows of a list; the store is asked only if one of them has not moved for long.

    Args:
        runs: KFP's runs.
        cluster: The cluster.
    """
    store = functools.cache(lambda: reach.store_of(cluster)[0])
    return [listed(run, cluster, lost.is_lost(run, store)) for run in runs]


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
    """Return a record a step, of its task details; drivers, groups of steps and attempts, `step(0)`, are none."""
    records_by_step = {}
    for task in _tasks(run):
        name, status = _step_of(task), _STATUS.get(task.state or "")
        if name not in RECORDED or status is None:
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
    return [records_by_step[name] for name in RECORDED if name in records_by_step]


def _without_outcome(run: Any, begun: list[StepRecord], has_records: bool) -> dict[str, Any]:
    """Return how a run has ended that has left no outcome, or none that can be read from here.

    KFP's success alone says nothing of the model: the run succeeds also where a gate was missed, and KFP's tasks may
    have stopped before.

    Args:
        run: KFP's run.
        begun: The steps as `steps` returns them.
        has_records: Whether the steps' own records were read; else a step that is missing may have run.
    """
    has_succeeded = run.state == "SUCCEEDED"
    cut_off = "unknown" if has_succeeded else "failed"
    rows = [_row(one, run, cut_off) for one in begun]
    if not has_records:
        told = {one.name for one in begun}
        rows += [
            {"name": name, "status": "unknown", "seconds": 0.0, "headline": ""} for name in STEPS if name not in told
        ]
    failed = next((row for row in rows if row["status"] == "failed"), None)
    ended = {"steps": rows, "resume": f"modelmill resume {run.run_id}", "failed_step": failed and failed["name"]}
    if not has_succeeded:
        said = run.error.message if run.error is not None and run.error.message else f"KFP says {run.state}"
        problem = next((one.problem.message for one in begun if one.status == "failed" and one.problem), said)
        return {"outcome": run.state.lower(), "exit_code": 1, "reason": problem, **ended}
    if any(one.name == "registration" and one.status in {"ran", "reused"} for one in begun):
        return {"outcome": "registered", "exit_code": 0, "reason": None, **ended}
    return {"outcome": "succeeded, outcome unknown", "exit_code": 1, "reason": _UNKNOWN, **ended}


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
    return sorted(tasks, key=lambda task: task.start_time.timestamp() if task.start_time else 0.0)


def _step_of(task: Any) -> str:
    return str(task.display_name or "").replace("-", "_")


def _why(task: Any) -> str:
    return one_line(Exception(task.error.message if task.error else f"KFP says {task.state}"))


def _ended(run: Any) -> str | None:
    """Return when a run ended; KFP gives a run that goes on the year 1970."""
    return run.finished_at.isoformat() if run.finished_at and run.finished_at.timestamp() > 0 else None
