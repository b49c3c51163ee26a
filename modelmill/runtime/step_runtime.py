"""The run of one step inside its container: reuse the finished step or do its work, and write the run's records."""

import contextlib
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelmill import recipe as recipes
from modelmill.core import lifetime, limits, machine
from modelmill.core.errors import Cancelled, ModelmillError, one_line
from modelmill.recipe import Recipe, step_specs, stored
from modelmill.runtime import cancellation, external_inputs, memo, run_records, step_log, tracking
from modelmill.runtime.run_records import Problem, Progress, StepRecord
from modelmill.store import Store, StoreAway, manifest, open_store, retention
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
        manifests, document = _read_inputs(name, whole, opened, inputs)
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
    with _recorded(record_name or name, store, run_id, recipe) as (opened, record, resolved):
        whole = recipes.from_json(resolved)
        manifests, document = _read_inputs(name, whole, opened, inputs)
        with tempfile.TemporaryDirectory(prefix=f"modelmill-{name}-") as scratch:
            visible = step_specs.visible_to(name, whole)
            step = Step(name, visible, resolved, manifests, document, opened, run_id, Path(scratch), record)
            step.progress(0, 1, "starting")
            record.headline = work(step)
        record.status = "ran"
        _record_end(opened, run_id, record)


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
    with _recorded(name, store, run_id, recipe) as (opened, record, resolved):
        whole = recipes.from_json(resolved)
        manifests, document = _read_inputs(name, whole, opened, inputs)
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
        _record_finished(opened, run_id, record, finished, whole)
    for output, path in outputs.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(manifest.load(opened, finished.outputs[output]).to_json())
    return finished.values


def reuse_step(
    name: str, recipe: Recipe, store: Store, run_id: str, inputs: dict[str, Manifest]
) -> memo.Finished | None:
    """Record the step as reused and return it if its key is finished; else it is recorded as one that begins.

    Args:
        name: The step's name.
        recipe: The whole recipe.
        store: Store with the memo and the run's records.
        run_id: The run whose record is written.
        inputs: Manifests by the names in the step's specification (`preprocessing.corpus`).
    """
    document = _key_document(name, recipe, store, inputs)
    record = StepRecord(name=name, status="running", started=time.time(), key=memo.key_of(document))
    # gc keeps what a step could find once it knows of the step, finished or about to begin.
    run_records.write_step(store, run_id, record)
    retention.wait(store)
    finished = memo.find(store, document)
    if finished is not None:
        record.status = "reused"
        _record_finished(store, run_id, record, finished, recipe)
    return finished


def reuse_key(name: str, key: str, *, recipe: str, store: str, run_id: str) -> memo.Finished:
    """Record a step as reused that was known to be finished before the run began, and return it.

    Args:
        name: The step's name.
        key: The step's key.
        recipe: The recipe's key in the store.
        store: URI of the store.
        run_id: The run whose record is written.

    Raises:
        SystemExit: What the step made is no longer whole, after that was recorded.
    """
    with _recorded(name, store, run_id, recipe) as (opened, record, resolved):
        known = memo.with_key(opened, name, key)
        finished = memo.find(opened, known.document) if known else None
        if finished is None:
            raise ModelmillError(
                f"{name}: it was finished when this run was submitted, and what it made is not there any more; "
                "modelmill submit starts a run that makes it again"
            )
        record.status, record.key = "reused", key
        _record_finished(opened, run_id, record, finished, recipes.from_json(resolved))
    return finished


def is_finished(name: str, recipe: Recipe, store: Store, inputs: dict[str, Manifest]) -> bool:
    """Return whether the step's key is finished and its outputs are there; the arguments are those of `reuse_step`."""
    return memo.find(store, _key_document(name, recipe, store, inputs)) is not None


def _record_finished(store: Store, run_id: str, record: StepRecord, finished: memo.Finished, recipe: Recipe) -> None:
    memo.remember(store, finished.document, recipe.name)
    record.outputs, record.metrics, record.headline = finished.outputs, finished.metrics, finished.headline
    _record_end(store, run_id, record)


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


def _read_inputs(
    name: str, recipe: Recipe, store: Store, inputs: dict[str, str]
) -> tuple[dict[str, Manifest], memo.KeyDocument]:
    """Return a step's input manifests, and what its key is made from."""
    manifests = {key: Manifest.parse(Path(path).read_bytes()) for key, path in inputs.items()}
    return manifests, _key_document(name, recipe, store, manifests)


def _key_document(name: str, recipe: Recipe, store: Store, inputs: dict[str, Manifest]) -> memo.KeyDocument:
    digests = {key: m.digest for key, m in inputs.items()} | external_inputs.digests(name, recipe, store)
    return memo.key_document(name, recipe, digests)


def _record_end(store: Store, run_id: str, record: StepRecord) -> None:
    record.seconds = time.time() - record.started
    run_records.write_step(store, run_id, record)
    log.info("%s %s in %.1f s: %s", record.name, record.status, record.seconds, record.headline)


@contextlib.contextmanager
def _recorded(name: str, store: str, run_id: str, recipe: str) -> Iterator[tuple[Store, StepRecord, str]]:
    """Give the store and the record of a step that begins, and the resolved recipe as JSON.

    If the block fails, the record says why, and the process ends with the error's exit code.
    """
    prepare_process()
    opened = open_store(store)
    record = StepRecord(name=name, status="running", started=time.time())
    with step_log.kept(opened, run_id, name):
        try:
            run_records.write_step(opened, run_id, record)
            resolved = stored.read(opened, recipe)
            run_records.write_run_if_absent(opened, run_id, resolved, record.started)
            # gc keeps what a step could find once it knows of the step.
            retention.wait(opened)
            with cancellation.heeded(opened, run_id):
                yield opened, record, resolved
        except BaseException as error:
            _record_failure(opened, run_id, record, error)
            raise SystemExit(record.problem.exit_code if record.problem else 1) from None


def _record_failure(store: Store, run_id: str, record: StepRecord, error: BaseException) -> None:
    """Keep why the step failed; a bug keeps its traceback in the step's log, a user's mistake is one line."""
    known = isinstance(error, ModelmillError)
    if not known:
        log.error("%s failed", record.name, exc_info=error)
    message = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
    record.status = "cancelled" if isinstance(error, Cancelled) else "failed"
    record.seconds = time.time() - record.started
    record.problem = Problem(
        kind=error.kind if isinstance(error, ModelmillError) else "bug",
        message=message,
        exit_code=error.exit_code if isinstance(error, ModelmillError) else 1,
    )
    log.error("%s: %s", record.name, message)
    run_records.write_step(store, run_id, record)


def prepare_process() -> None:
    """Set up logging and threads, and end this process with the local runner that has started it.

    Logs go to standard output and to the log of the step that has started this process, if one has.
    """
    limits.share_threads()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=step_log.FORMAT)
    step_log.join()
    if os.environ.get("MODELMILL_EXIT_WITH_STDIN") == "1" and threading.current_thread() is threading.main_thread():
        lifetime.exit_with_stdin()
