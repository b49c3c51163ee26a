"""The records that a step keeps of itself: that it runs, how it ended, and why it failed."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator

from modelmill.core import lifetime, limits
from modelmill.core.errors import Cancelled, ModelmillError, one_line
from modelmill.recipe import Recipe, stored
from modelmill.runtime import cancellation, memo, run_records, step_log
from modelmill.runtime.run_records import Problem, StepRecord
from modelmill.store import Store, open_store, retention

log = logging.getLogger("modelmill")


@contextlib.contextmanager
def recorded(name: str, store: str, run_id: str, recipe: str) -> Iterator[tuple[Store, StepRecord, str]]:
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


def record_end(store: Store, run_id: str, record: StepRecord) -> None:
    """Write the record of a step that has ended."""
    record.seconds = time.time() - record.started
    run_records.write_step(store, run_id, record)
    log.info("%s %s in %.1f s: %s", record.name, record.status, record.seconds, record.headline)


def record_finished(store: Store, run_id: str, record: StepRecord, finished: memo.Finished, recipe: Recipe) -> None:
    """Write the record of a step whose key is finished, with what it made."""
    memo.remember(store, finished.document, recipe.name)
    record.outputs, record.metrics, record.headline = finished.outputs, finished.metrics, finished.headline
    record_end(store, run_id, record)
