"""One run of a recipe from the command line: checks first, then a runner, then what came of it."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from modelmill import recipe as recipes
from modelmill.pipelines.planning.estimates import estimate
from modelmill.pipelines.planning.plan import plan
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import external_inputs, run_records, tracking
from modelmill.runtime.run_records import RunRecord, StepRecord
from modelmill.runtime.step_log import write_without_secrets
from modelmill.store import Store

POLL_SECONDS = 0.2
RUNNERS = {"subprocess": "modelmill.pipelines.runners.subprocess", "docker": "modelmill.pipelines.runners.docker"}


def check(recipe: Recipe, store: Store) -> None:
    """Find what can be found wrong before any work.

    Raises:
        UserError: the store, the data, the weights to start from or the registry.
    """
    external_inputs.digests("data_validation", recipe, store)
    store.check()
    tracking.tracking_uri(store)
    for step in STEPS:
        external_inputs.digests(step, recipe, store)


def new_run_id() -> str:
    """Sorts by time; unique also for two runs in one second."""
    return time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]


def execute(
    recipe: Recipe,
    store: Store,
    runner: str,
    command: list[str],
    watch: Callable[[list[StepRecord]], None],
    if_changed: bool = False,
) -> str:
    """Run the recipe's DAG and wait for it; returns the run's id.

    Args:
        command: what the user typed, kept as the way to resume. watch: is shown the steps' records as they change.
        if_changed: train only for a reason, see `dag.build`.
    """
    run_id = start(recipe, store, command)
    wait_for(RUNNERS[runner], recipe, store, run_id, watch, if_changed=if_changed)
    if run_records.read_outcome(store, run_id) is None:
        report(recipe, store, run_id)
    watch(records(store, run_id))
    return run_id


def start(recipe: Recipe, store: Store, command: list[str]) -> str:
    """Record that a run begins; returns its id."""
    run_id = new_run_id()
    record = RunRecord(
        run_id=run_id,
        recipe=json.loads(recipes.to_json(recipe)),
        store=store.uri,
        started=time.time(),
        resume=shlex.join(command),
        estimates=estimate(recipe, store, plan(recipe, store)),
    )
    run_records.write_run(store, record)
    return run_id


def wait_for(
    runner: str,
    recipe: Recipe,
    store: Store,
    run_id: str,
    watch: Callable[[list[StepRecord]], None],
    **more: Any,
) -> None:
    """Run a runner's module to its end and keep its log, without secrets, as the run's.

    Args:
        more: is added to the runner's request, which holds `recipe` (resolved, as JSON), `store` (URI) and `run_id`.
    """
    # A step that is interrupted may write on for a moment while its folder goes.
    with tempfile.TemporaryDirectory(prefix="modelmill-run-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "log.txt"
        request = Path(folder) / "request.json"
        asked = {"recipe": recipes.to_json(recipe), "store": store.uri, "run_id": run_id, **more}
        request.write_text(json.dumps(asked))
        ended: dict[str, StepRecord] = {}
        with open(log, "wb") as output:
            _run(runner, request, output, Path(folder), lambda: watch(_records(store, run_id, ended)))
        write_without_secrets(log, Path(folder) / "clean.txt")
        store.upload(log_key(run_id), Path(folder) / "clean.txt")


def report(recipe: Recipe, store: Store, run_id: str) -> None:
    """Do the exit handler's work, where it did not come to run: its runner died, or has none."""
    from modelmill.components.reporting.component import reporting

    with tempfile.TemporaryDirectory(prefix="modelmill-report-") as folder:
        page = SimpleNamespace(path=f"{folder}/report.html")
        reporting.python_func(recipe=recipes.to_json(recipe), store=store.uri, run_id=run_id, report=page)


def log_key(run_id: str) -> str:
    return f"runs/{run_id}/log.txt"


def records(store: Store, run_id: str) -> list[StepRecord]:
    """The records of the steps that have begun, in the DAG's order."""
    return _records(store, run_id, {})


def _records(store: Store, run_id: str, ended: dict[str, StepRecord]) -> list[StepRecord]:
    """As `records`, without asking the store again for those that `ended` has; it is filled here.

    The steps are a chain, so behind one that has not begun nothing has: a poll costs two or three reads. The last one
    may begin again: a look for new data has a record before the validation of it.
    """
    found: list[StepRecord] = []
    for step in STEPS:
        record = ended.get(step) or run_records.read_step(store, run_id, step)
        if record is None:
            break
        found.append(record)
    ended |= {record.name: record for record in found[:-1] if record.status != "running"}
    return found


def summary(store: Store, run_id: str) -> dict[str, Any]:
    """The run as one JSON object, as `run --json` prints it."""
    outcome = run_records.read_outcome(store, run_id) or {}
    steps = [
        {
            "name": r.name,
            "status": "failed" if r.status == "running" else r.status,
            "seconds": round(r.seconds, 3),
            "key": r.key,
            "output_digest": r.outputs.get(STEPS[r.name].outputs[0]),
            "metrics": r.metrics,
            "headline": r.headline,
            "reason": r.reason,
        }
        for r in records(store, run_id)
    ]
    keys = ("outcome", "exit_code", "failed_step", "reason", "resume", "model", "report")
    return {"run_id": run_id, "steps": steps, **{key: outcome.get(key) for key in keys}}


def _run(runner: str, request: Path, log: IO[bytes], scratch: Path, poll: Callable[[], None]) -> None:
    """Start the runner and poll until it ends; temporary files of it and its steps go below `scratch`.

    The pipe to its standard input closes when this process dies, by whatever signal, and the runner and its steps then
    end too.
    """
    command = [sys.executable, "-m", runner, str(request)]
    environment = {
        **os.environ,
        "MODELMILL_EXIT_WITH_STDIN": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(scratch),
    }
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment) as process:
        while process.poll() is None:
            poll()
            time.sleep(POLL_SECONDS)
