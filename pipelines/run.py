"""One run of a recipe from the command line: checks first, then a runner, then what came of it."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from modelmill import recipe as recipes
from modelmill.core.files import scratch_folder
from modelmill.pipelines.planning.estimates import estimate
from modelmill.pipelines.planning.plan import Planned, plan
from modelmill.pipelines.runners.local import LocalRun
from modelmill.recipe import Recipe, stored
from modelmill.recipe.step_specs import LOOK, RECORDED, STEPS
from modelmill.runtime import external_inputs, run_records, tracking
from modelmill.runtime.run_records import RunRecord, StepRecord
from modelmill.runtime.step_log import write_without_secrets
from modelmill.store import Store, StoreError

POLL_SECONDS = 0.2
LOCAL = "local"
# Runners that go through KFP, each a module that is a process of its own.
RUNNERS = {"subprocess": "modelmill.pipelines.runners.subprocess", "docker": "modelmill.pipelines.runners.docker"}


def check(recipe: Recipe, store: Store) -> None:
    """Find what can be found wrong before any work.

    Raises:
        UserError: The store, the data, the weights to start from or the registry.
    """
    external_inputs.digests("data_validation", recipe, store)
    store.check()
    tracking.tracking_uri(store)
    for step in STEPS:
        external_inputs.digests(step, recipe, store)


def new_run_id() -> str:
    """Return an id that sorts by time, unique also for two runs in one second."""
    return time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]


def execute(
    recipe: Recipe,
    store: Store,
    runner: str,
    command: list[str],
    watch: Callable[[list[StepRecord]], None],
    if_changed: bool = False,
) -> str:
    """Run the recipe's DAG, wait for it, and return the run's id.

    Args:
        recipe: The resolved recipe.
        store: Where everything is kept.
        runner: Name of the runner.
        command: Words that the user typed, kept as the way to resume.
        watch: Is shown the steps' records as they change.
        if_changed: Train only for a reason, as in `dag.build`.
    """
    planned = plan(recipe, store)
    run_id = start(recipe, store, command, planned)
    if runner == LOCAL:
        _run_here(recipe, store, run_id, planned, watch, if_changed)
    else:
        wait_for(RUNNERS[runner], recipe, store, run_id, watch, if_changed=if_changed)
    if run_records.read_outcome(store, run_id) is None:
        report(recipe, store, run_id)
    watch(records(store, run_id))
    return run_id


def start(recipe: Recipe, store: Store, command: list[str], planned: list[Planned]) -> str:
    """Record that a run begins, and return its id.

    Args:
        recipe: The resolved recipe.
        store: Where everything is kept.
        command: Words that the user typed, kept as the way to resume.
        planned: The plan of the run.
    """
    run_id = new_run_id()
    record = RunRecord(
        run_id=run_id,
        recipe=json.loads(recipes.to_json(recipe)),
        store=store.uri,
        started=time.time(),
        resume=shlex.join(command),
        estimates=estimate(recipe, store, planned),
    )
    run_records.write_run(store, record)
    return run_id


def _run_here(
    recipe: Recipe,
    store: Store,
    run_id: str,
    planned: list[Planned],
    watch: Callable[[list[StepRecord]], None],
    if_changed: bool,
) -> None:
    """Run the DAG from this process (see `runners.local`)."""
    will_run = [step.name for step in planned if step.status == "will run"]
    with _kept_log(store, run_id) as (folder, log):
        poll = _poller(store, run_id, watch)
        LocalRun(recipe, store, run_id, will_run, folder, log, poll).run(if_changed)


def _poller(store: Store, run_id: str, watch: Callable[[list[StepRecord]], None]) -> Callable[[], None]:
    """Return a function that shows the steps' records as they are now, if the store answers now."""
    ended: dict[str, StepRecord] = {}

    def poll() -> None:
        with contextlib.suppress(StoreError):
            watch(_records(store, run_id, ended))

    return poll


@contextlib.contextmanager
def _kept_log(store: Store, run_id: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """Yield a folder for temporary files, and a log that becomes the run's, without secrets."""
    with scratch_folder("run") as folder:
        log = folder / "log.txt"
        with open(log, "wb") as output:
            yield folder, output
        write_without_secrets(log, folder / "clean.txt")
        store.upload(log_key(run_id), folder / "clean.txt")


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
        runner: The module.
        recipe: The resolved recipe.
        store: Where everything is kept.
        run_id: The run.
        watch: Is shown the steps' records as they change.
        more: Added to the runner's request, which holds `recipe` (its key in the store), `store` (URI) and `run_id`.
    """
    with _kept_log(store, run_id) as (folder, log):
        request = folder / "request.json"
        asked = {"recipe": stored.write(store, recipe), "store": store.uri, "run_id": run_id, **more}
        request.write_text(json.dumps(asked))
        _run(runner, request, log, folder, _poller(store, run_id, watch))


def report(recipe: Recipe, store: Store, run_id: str) -> None:
    """Do the exit handler's work, where it did not come to run: its runner died, or has none.

    Args:
        recipe: The resolved recipe.
        store: Where everything is kept.
        run_id: The run.
    """
    from modelmill.components.reporting.api import report_run

    with tempfile.TemporaryDirectory(prefix="modelmill-report-") as folder:
        page = f"{folder}/report.html"
        report_run(recipe=stored.write(store, recipe), store=store.uri, run_id=run_id, report=page)


def log_key(run_id: str) -> str:
    """Return the key of a run's log in the store."""
    return f"runs/{run_id}/log.txt"


def records(store: Store, run_id: str) -> list[StepRecord]:
    """Return the records of the steps that have begun, in the DAG's order, behind that of a look for new data."""
    return _records(store, run_id, {})


def _records(store: Store, run_id: str, ended: dict[str, StepRecord]) -> list[StepRecord]:
    """As `records`, without asking the store again for those that `ended` has; it is filled here.

    The steps are a chain, so behind one that has not begun nothing has: a poll costs two or three reads. The last one
    may still change: how far its data have drifted is added to the headline of data validation.
    """
    begun: list[StepRecord] = []
    for name in RECORDED:
        if name == LOOK and ended and LOOK not in ended:
            continue  # a step has ended without one
        record = ended.get(name) or run_records.read_step(store, run_id, name)
        if record is not None:
            begun.append(record)
        elif name != LOOK:
            break
    ended |= {record.name: record for record in begun[:-1] if record.status != "running"}
    return begun


def summary(store: Store, run_id: str) -> dict[str, Any]:
    """Return the run as one JSON object, as `run --json` prints it."""
    outcome = run_records.read_outcome(store, run_id) or {}
    steps = [
        {
            "name": r.name,
            "status": _of_unfinished(outcome) if r.status == "running" else r.status,
            "seconds": round(r.seconds, 3),
            "key": r.key,
            "output_digest": r.outputs.get(STEPS[r.name].outputs[0]) if r.name in STEPS else None,
            "metrics": r.metrics,
            "headline": r.headline,
            "reason": r.reason,
        }
        for r in records(store, run_id)
    ]
    keys = ("outcome", "exit_code", "failed_step", "reason", "resume", "model", "report")
    return {"run_id": run_id, "steps": steps, **{key: outcome.get(key) for key in keys}}


def _of_unfinished(outcome: dict[str, Any]) -> str:
    """Return the status of a step that did not say how it ended, in a run that has."""
    return "cancelled" if outcome.get("outcome") == "cancelled" else "failed"


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
