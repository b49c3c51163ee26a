"""The run of one step inside its container: reuse the finished step or do its work, and write the run's records."""

import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelmill import recipe as recipes
from modelmill.core import machine
from modelmill.core.errors import ModelmillError, one_line
from modelmill.recipe import Recipe, step_specs, stored
from modelmill.runtime import memo, run_records, tracking
from modelmill.runtime.recorded import prepare_process, record_end, record_finished, recorded
from modelmill.runtime.run_records import Progress, StepRecord
from modelmill.runtime.step_keys import read_inputs
from modelmill.store import Store, StoreAway, manifest, open_store
from modelmill.store.manifest import Manifest

log = logging.getLogger("modelmill")
PROGRESS_SECONDS = 0.5
# A try to write takes seconds while the store is away.
AWAY_SECONDS = 15.0


@dataclass
class Made:
    """What a step made.

    Attributes:
        outputs: Manifests by output name.
        headline: The step's line in the run's table.
        values: KFP output parameters.
        metrics: Numbers for people, which may differ between equal runs (seconds, rates).
        history: Training curve: rows with `step` and numbers.
        system: Load of the machine: rows with `time` (seconds since 1970) and readings by MLflow's names.
        leftovers: Prefix of store keys that nobody needs once the step is finished.
        same_for: Inputs from outside the DAG, with digests that they may have from now on because of this step. With
            them the step would make the same, so it is not run again.
    """

    outputs: dict[str, Manifest]
    headline: str
    values: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    system: list[dict[str, float]] = field(default_factory=list)
    leftovers: str = ""
    same_for: dict[str, str] = field(default_factory=dict)


@dataclass
class Step:
    """A running step, as the code that does its work sees it.

    Attributes:
        name: The step's name.
        recipe: The part of the recipe that the step declares.
        resolved: The whole recipe as JSON, for processes that the step starts.
        inputs: Input manifests, by the names in the step's specification.
        document: What the step's key is made from.
        store: The run's store.
        run_id: The run.
        scratch: Folder for temporary files.
        record: The step's record.
    """

    name: str
    recipe: Recipe
    resolved: str
    inputs: dict[str, Manifest]
    document: memo.KeyDocument
    store: Store
    run_id: str
    scratch: Path
    record: StepRecord
    _last_progress: float = 0.0
    _store_is_away: bool = False

    @property
    def key(self) -> str:
        """The step's key; two runs with one key make the same bytes, so checkpoints are kept under it."""
        return self.record.key

    @property
    def digests(self) -> dict[str, str]:
        """Digests of the inputs, including those from outside the DAG."""
        return dict(self.document["inputs"])

    def progress(self, done: float, total: float, text: str) -> None:
        """Record how far the step is; cheap enough to be called in every iteration.

        A store that is away for a while is no reason to stop: the step goes on without its record, and says so.

        Args:
            done: Units that are done.
            total: Units in all.
            text: What the step is doing.
        """
        now = time.monotonic()
        pause = AWAY_SECONDS if self._store_is_away else PROGRESS_SECONDS
        if now - self._last_progress < pause and done < total:
            return
        self.record.progress = Progress(done=done, total=total, text=text)
        self.record.seconds = time.time() - self.record.started
        try:
            run_records.write_step(self.store, self.run_id, self.record)
        except StoreAway as error:
            if not self._store_is_away:
                log.warning("%s; %s goes on without its record", one_line(error), self.name)
            self._store_is_away = True
        else:
            self._store_is_away = False
        self._last_progress = time.monotonic()
        log.info("%s %g/%g %s", self.name, done, total, text)


class _Ahead(Step):
    """A step's view for tasks that work ahead of it; the step's record is not theirs."""

    def progress(self, done: float, total: float, text: str) -> None:
        log.info("ahead of %s %g/%g %s", self.name, done, total, text)


def work_ahead(name: str, work: Callable[[Step], int], *, recipe: str, store: str, inputs: dict[str, str]) -> int:
    """Do some of a step's work ahead of it, so that the step finds the results in the store.

    Args:
        name: The step's name.
        work: Function that does the work with what the step would see, and returns a count.
        recipe: The recipe's key in the store.
        store: URI of the store.
        inputs: Files that hold the input manifests, as in `run_step`.

    Returns:
        What `work` returns; 0 if the step is finished or something is wrong, which the step will report.
    """
    prepare_process()
    try:
        opened = open_store(store)
        resolved = stored.read(opened, recipe)
        whole = recipes.from_json(resolved)
        manifests, document = read_inputs(name, whole, opened, inputs)
        if memo.find(opened, document):
            return 0
        with tempfile.TemporaryDirectory(prefix=f"modelmill-{name}-") as scratch:
            visible, record = step_specs.visible_to(name, whole), StepRecord(name=name, status="running")
            return work(_Ahead(name, visible, resolved, manifests, document, opened, "", Path(scratch), record))
    except ModelmillError as error:
        log.warning("left to %s: %s", name, one_line(error))
        return 0


def try_step(
    name: str,
    work: Callable[[Step], str],
    *,
    recipe: str,
    store: str,
    run_id: str,
    inputs: dict[str, str],
    record_name: str | None = None,
) -> None:
    """Try something with what a step would see; no outputs are written, and the step's key stays unfinished.

    Args:
        name: The step's name.
        work: Function that tries it, and returns the headline of the record.
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run under which the record is kept.
        inputs: Files that hold the input manifests, as in `run_step`.
        record_name: Name of the record and the log; the step's by default.

    Raises:
        SystemExit: With the error's exit code, after the failure was recorded.
    """
    with recorded(record_name or name, store, run_id, recipe) as (opened, record, resolved):
        whole = recipes.from_json(resolved)
        manifests, document = read_inputs(name, whole, opened, inputs)
        with tempfile.TemporaryDirectory(prefix=f"modelmill-{name}-") as scratch:
            visible = step_specs.visible_to(name, whole)
            step = Step(name, visible, resolved, manifests, document, opened, run_id, Path(scratch), record)
            step.progress(0, 1, "starting")
            record.headline = work(step)
        record.status = "ran"
        record_end(opened, run_id, record)


def entry(name: str, make: Callable[[Step], Made]) -> Callable[..., dict[str, Any]]:
    """Return a step's entry, which its component calls: it takes the ports that the step's specification declares.

    Args:
        name: The step's name.
        make: Function that does the work; called only if the step's key is not finished.
    """
    spec = step_specs.STEPS[name]
    ports = {*spec.inputs, *spec.outputs}

    def run(*, recipe: str, store: str, run_id: str, **files: str) -> dict[str, Any]:
        """Run the step; each port is a file that holds, or will hold, a manifest. See `run_step`."""
        if files.keys() != ports:
            raise TypeError(f"{name} takes the ports {', '.join(sorted(ports))}, not {', '.join(sorted(files))}")
        inputs = {source: files[port] for port, source in spec.inputs.items()}
        outputs = {port: files[port] for port in spec.outputs}
        return run_step(name, make, recipe=recipe, store=store, run_id=run_id, inputs=inputs, outputs=outputs)

    return run


def run_step(
    name: str,
    make: Callable[[Step], Made],
    *,
    recipe: str,
    store: str,
    run_id: str,
    inputs: dict[str, str],
    outputs: dict[str, str],
) -> dict[str, Any]:
    """Run a step unless its key is finished, and write its output manifests.

    Args:
        name: The step's name.
        make: Function that does the work; called only if the key is not finished.
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run under which records are kept.
        inputs: Files that hold the input manifests, by the names in the step's specification (`preprocessing.corpus`).
        outputs: Files to write the output manifests to, by output name.

    Returns:
        The step's output parameters.

    Raises:
        SystemExit: With the error's exit code, after the failure was recorded.
    """
    with recorded(name, store, run_id, recipe) as (opened, record, resolved):
        whole = recipes.from_json(resolved)
        manifests, document = read_inputs(name, whole, opened, inputs)
        if image := os.environ.get(machine.IMAGE_VARIABLE):
            memo.note_code(opened, name, whole, image)
        record.key = memo.key_of(document)
        finished = memo.find(opened, document)
        record.status = "reused" if finished else "ran"
        if finished is None:
            record.reason = memo.why(opened, document, whole.name)
            with tempfile.TemporaryDirectory(prefix=f"modelmill-{name}-") as scratch:
                running = record.model_copy(update={"status": "running"})
                visible = step_specs.visible_to(name, whole)
                step = Step(name, visible, resolved, manifests, document, opened, run_id, Path(scratch), running)
                finished = _make_and_commit(step, make, whole)
        record_finished(opened, run_id, record, finished, whole)
    for output, path in outputs.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(manifest.load(opened, finished.outputs[output]).to_json())
    return finished.values


def _make_and_commit(step: Step, make: Callable[[Step], Made], whole: Recipe) -> memo.Finished:
    """Do the work, store the manifests after the bytes they name and the memo last; tell the tracking server."""
    step.progress(0, 1, "starting")
    made = make(step)
    finished = memo.Finished(
        document=step.document,
        outputs={output: manifest.save(step.store, m) for output, m in made.outputs.items()},
        values=made.values,
        metrics=made.metrics,
        headline=made.headline,
        seconds=time.time() - step.record.started,
        where=machine.here(step.run_id),
    )
    logged = tracking.Logged(step.document["settings"], made.metrics, made.history, made.system)
    tracking.log_step(step.store, step.run_id, whole, step.name, logged)
    memo.commit(step.store, finished)
    if made.same_for:
        # The next run sees these inputs, and its key must find this work.
        finished = memo.settle(step.store, finished, made.same_for, whole.name)
    for key in list(step.store.list(made.leftovers)) if made.leftovers else []:
        step.store.delete(key)
    return finished
