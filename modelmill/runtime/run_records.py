"""The records of a run in the store, `runs/<run id>/`: written while it goes on, and the same on every runner."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from modelmill.core.digest import canonical_json
from modelmill.core.errors import Preempted
from modelmill.store import KeyNotFound, Store

Status = Literal["running", "ran", "reused", "failed", "cancelled"]
# How many records are asked for at a time, where all are wanted.
READERS = 16

# A run's list of quarantined shards, beside its validation result.
QUARANTINE = "quarantine.json"
# How far its data has drifted from that of the registered model.
DRIFT = "drift.json"


class Problem(BaseModel):
    """Why a step failed.

    Attributes:
        kind: Kind of the error (see `core.errors`), or `bug`.
        message: One line.
        exit_code: Exit code of the command line.
    """

    kind: str
    message: str
    exit_code: int = 1


class Progress(BaseModel):
    """How far a step is.

    Attributes:
        done: Units that are done.
        total: Units in all.
        text: What the step is doing.
    """

    done: float = 0
    total: float = 0
    text: str = ""


class StepRecord(BaseModel):
    """One step of one run.

    Attributes:
        name: The step's name.
        status: How it is or has ended.
        started: Start in seconds since 1970.
        seconds: Wall-clock time.
        key: The step's key; empty until it is known.
        outputs: Digests of the output manifests, by output; equal keys have equal ones.
        metrics: Numbers for people, which may differ between equal runs.
        headline: The step's line in the run's table.
        reason: Why it was not reused.
        progress: How far it is.
        problem: Why it failed.
    """

    model_config = ConfigDict(extra="ignore")
    name: str
    status: Status
    started: float = 0.0
    seconds: float = 0.0
    key: str = ""
    outputs: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    headline: str = ""
    reason: str = ""
    progress: Progress | None = None
    problem: Problem | None = None


class Estimate(BaseModel):
    """The expected cost of a training step; None is what could not be known beforehand.

    Attributes:
        unit: What `amount` counts.
        parameters: Parameters of the model.
        amount: Tokens or samples that go through the model.
        model_flops: FLOPs of the model for them.
        device_hours: Hours of one device.
        basis: What the time is based on, in words.
    """

    unit: Literal["tokens", "samples"]
    parameters: int | None = None
    amount: int | None = None
    model_flops: float | None = None
    device_hours: float | None = None
    basis: str = ""


class RunRecord(BaseModel):
    """The start of a run: written once, by what starts it, or by its first step where KFP started it alone.

    Attributes:
        run_id: The run.
        recipe: The resolved recipe.
        store: URI of the store.
        started: Start in seconds since 1970.
        resume: Command that goes on with the run.
        estimates: Expected cost of the training steps that were to run.
        requested_by: Who asked for the run, where that is known.
        reason: Why, where that is known.
    """

    run_id: str
    recipe: dict[str, Any]
    store: str
    started: float
    resume: str
    estimates: dict[str, Estimate] = {}
    requested_by: str = ""
    reason: str = ""


# Of a preempted step in a run that tries it again.
GOES_ON = "preempted, goes on"


def goes_on(record: StepRecord) -> bool:
    """Return whether a step has saved and ended because its place was taken away: it is tried again, where it was."""
    return record.status == "failed" and record.problem is not None and record.problem.kind == Preempted.kind


def step_key(run_id: str, step: str) -> str:
    """Return the store key of a step's record."""
    return f"runs/{run_id}/steps/{step}.json"


def write_step(store: Store, run_id: str, record: StepRecord) -> None:
    """Write a step's record."""
    store.put(step_key(run_id, record.name), record.model_dump_json().encode())


def read_step(store: Store, run_id: str, step: str) -> StepRecord | None:
    """Return a step's record, None if the step has not begun."""
    data = _get(store, step_key(run_id, step))
    return StepRecord.model_validate(data) if data is not None else None


def step_log_key(run_id: str, step: str) -> str:
    """Return the store key of a step's log, which is there while the step runs and after."""
    return f"runs/{run_id}/logs/{step}.txt"


def write_run(store: Store, record: RunRecord) -> None:
    """Write a run's record."""
    store.put(_run_key(record.run_id), canonical_json(record.model_dump()))


def write_run_if_absent(store: Store, run_id: str, recipe: str, started: float) -> None:
    """Record a run unless it has a record; a recurring run of a cluster begins without one.

    Args:
        store: Store that keeps the record.
        run_id: The run.
        recipe: The resolved recipe as JSON.
        started: Start in seconds since 1970.
    """
    resume = f"modelmill resume {run_id}"
    record = RunRecord(run_id=run_id, recipe=json.loads(recipe), store=store.uri, started=started, resume=resume)
    store.put_if_absent(_run_key(run_id), canonical_json(record.model_dump()))


def read_run(store: Store, run_id: str) -> RunRecord | None:
    """Return a run's record, None if it has none."""
    data = _get(store, _run_key(run_id))
    return RunRecord.model_validate(data) if data is not None else None


def write_outcome(store: Store, run_id: str, outcome: dict[str, Any]) -> None:
    """Write how a run has ended."""
    store.put(f"runs/{run_id}/outcome.json", canonical_json(outcome))


def read_outcome(store: Store, run_id: str) -> dict[str, Any] | None:
    """Return how a run has ended, None if it has not."""
    return _get(store, f"runs/{run_id}/outcome.json")


def report_key(run_id: str) -> str:
    """Return the store key of a run's report."""
    return f"runs/{run_id}/report.html"


def lr_find_key(run_id: str) -> str:
    """Return the store key of what `modelmill lr-find` has measured, which is there until it is shown."""
    return f"runs/{run_id}/lr_find.json"


def forget(store: Store, run_id: str) -> None:
    """Delete everything that a run has left under its id."""
    for key in list(store.list(f"runs/{run_id}/")):
        store.delete(key)


def run_ids(store: Store) -> list[str]:
    """Return the ids of the runs in the store by the time of their start, those without a record first.

    The time is that of the record, since a cluster's ids say none.
    """
    ids = sorted({key.split("/")[1] for key in store.list("runs/")})
    with ThreadPoolExecutor(READERS) as pool:
        started = dict(zip(ids, pool.map(lambda run_id: _started(store, run_id), ids), strict=True))
    return sorted(ids, key=lambda run_id: (started[run_id], run_id))


def _started(store: Store, run_id: str) -> float:
    record = read_run(store, run_id)
    return record.started if record is not None else 0.0


def _run_key(run_id: str) -> str:
    return f"runs/{run_id}/run.json"


def _get(store: Store, key: str) -> Any:
    try:
        return json.loads(store.get(key))
    except KeyNotFound:
        return None
