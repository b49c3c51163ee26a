"""What a run leaves in the store while it goes on and after: `runs/<run id>/`. The same on every runner."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from modelmill.core.digest import canonical_json
from modelmill.store import KeyNotFound, Store

Status = Literal["running", "ran", "reused", "failed"]
# How many records are asked for at a time, where all are wanted.
READERS = 16

# A run's list of quarantined shards, beside its validation result.
QUARANTINE = "quarantine.json"
# How far its data has drifted from that of the registered model.
DRIFT = "drift.json"


class Problem(BaseModel):
    """Why a step failed; `kind` is that of the error (see `errors`), `message` one line."""

    kind: str
    message: str
    exit_code: int = 1


class Progress(BaseModel):
    """How far a step is: `done` of `total` units, and what it is doing, as text."""

    done: float = 0
    total: float = 0
    text: str = ""


class StepRecord(BaseModel):
    """One step of one run. `seconds` are wall-clock; `metrics` may differ from run to run, outputs do not."""

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
    """What a training step is expected to cost; None is what could not be known beforehand.

    `amount` counts the tokens or samples that go through the model; `basis` says in words what the time is based on.
    """

    unit: Literal["tokens", "samples"]
    parameters: int | None = None
    amount: int | None = None
    model_flops: float | None = None
    device_hours: float | None = None
    basis: str = ""


class RunRecord(BaseModel):
    """Who started a run, with what: written once, by whoever starts it, or by its first step where nobody of ours did.

    `started` is in seconds since 1970. `estimates` are of the training steps that were to run. `requested_by` and
    `reason` say who asked for it and why, where that is known.
    """

    run_id: str
    recipe: dict[str, Any]
    store: str
    started: float
    resume: str
    estimates: dict[str, Estimate] = {}
    requested_by: str = ""
    reason: str = ""


def step_key(run_id: str, step: str) -> str:
    return f"runs/{run_id}/steps/{step}.json"


def write_step(store: Store, run_id: str, record: StepRecord) -> None:
    store.put(step_key(run_id, record.name), record.model_dump_json().encode())


def read_step(store: Store, run_id: str, step: str) -> StepRecord | None:
    data = _get(store, step_key(run_id, step))
    return StepRecord.model_validate(data) if data is not None else None


def step_log_key(run_id: str, step: str) -> str:
    """What a step has logged, while it runs and after."""
    return f"runs/{run_id}/logs/{step}.txt"


def write_run(store: Store, record: RunRecord) -> None:
    store.put(_run_key(record.run_id), canonical_json(record.model_dump()))


def write_run_if_absent(store: Store, run_id: str, recipe: str, started: float) -> None:
    """Record a run that nobody has recorded, which is how a recurring one on a cluster begins.

    Args:
        recipe: the resolved recipe as JSON.
    """
    resume = f"modelmill resume {run_id}"
    record = RunRecord(run_id=run_id, recipe=json.loads(recipe), store=store.uri, started=started, resume=resume)
    store.put_if_absent(_run_key(run_id), canonical_json(record.model_dump()))


def read_run(store: Store, run_id: str) -> RunRecord | None:
    data = _get(store, _run_key(run_id))
    return RunRecord.model_validate(data) if data is not None else None


def write_outcome(store: Store, run_id: str, outcome: dict[str, Any]) -> None:
    store.put(f"runs/{run_id}/outcome.json", canonical_json(outcome))


def read_outcome(store: Store, run_id: str) -> dict[str, Any] | None:
    return _get(store, f"runs/{run_id}/outcome.json")


def report_key(run_id: str) -> str:
    return f"runs/{run_id}/report.html"


def lr_find_key(run_id: str) -> str:
    """What `modelmill lr-find` has measured, until it is shown."""
    return f"runs/{run_id}/lr_find.json"


def forget(store: Store, run_id: str) -> None:
    """Delete everything that a run has left under its id."""
    for key in list(store.list(f"runs/{run_id}/")):
        store.delete(key)


def run_ids(store: Store) -> list[str]:
    """Every run in the store, the first to begin first: by its record, since a cluster's ids say no time.

    One without a record, which has not begun or was not recorded, is before those that have one.
    """
    found = sorted({key.split("/")[1] for key in store.list("runs/")})
    with ThreadPoolExecutor(READERS) as pool:
        started = dict(zip(found, pool.map(lambda run_id: _started(store, run_id), found), strict=True))
    return sorted(found, key=lambda run_id: (started[run_id], run_id))


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
