"""A run that is cancelled through the trigger service: POST /cancel/RUN."""

import logging
import threading

from pydantic import BaseModel, ConfigDict, Field

from modelmill.core.errors import ModelmillError, one_line
from modelmill.pipelines.trigger import signing
from modelmill.pipelines.trigger.asking import Starter
from modelmill.pipelines.trigger.requests import Answered, RefusedRequest, parse_as
from modelmill.runtime import cancellation, run_records

_log = logging.getLogger("modelmill.trigger")


class Cancel(BaseModel):
    """The body of POST /cancel/RUN."""

    model_config = ConfigDict(extra="forbid")
    run_id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="The run, again: the signature covers the body, not the path.",
    )
    by: str = Field(min_length=1, max_length=200, description="Who cancels it.")


def cancel(starter: Starter, run_id: str, body: bytes, request_name: str) -> Answered:
    """Do the work of POST /cancel/RUN, after the signature is checked: the word in the store now, the rest behind it.

    Args:
        starter: What starts and stops runs.
        run_id: The run in the request's path.
        body: The request's.
        request_name: The name by which the request is known.

    Raises:
        RefusedRequest: The body is wrong (400), there is no such run (404), or it has ended (409).
    """
    asked = _parse(body, run_id)
    signing.require_first(starter.store, request_name)
    if run_records.read_run(starter.store, run_id) is None:
        raise RefusedRequest(404, "unknown_run", f"{run_id}: no such run in this store")
    if starter.state_of(run_id) != "running":
        raise RefusedRequest(409, "ended", f"{run_id}: has ended already")
    cancelled = cancellation.write(starter.store, run_id, asked.by)
    threading.Thread(target=_stop, args=(starter, run_id, cancelled.by), daemon=True, name=f"cancel {run_id}").start()
    _log.info("%s: %s", run_id, cancelled)
    return Answered(202, "cancelling", {"result": "cancelling", "run_id": run_id, "cancelled": str(cancelled)})


def _parse(body: bytes, run_id: str) -> Cancel:
    asked = parse_as(Cancel, body)
    if asked.run_id != run_id:
        raise RefusedRequest(400, "bad_request", f"the path says run {run_id}, the signed body {asked.run_id}")
    return asked


def _stop(starter: Starter, run_id: str, by: str) -> None:
    """Stop the run once its steps have saved. If this fails, they have still read the word, and end by themselves."""
    try:
        for note in starter.cancel(run_id, by):
            _log.warning("%s: %s", run_id, note)
    except ModelmillError as error:
        _log.warning("%s: cannot be stopped: %s", run_id, one_line(error))
    except Exception:
        _log.exception("%s: cannot be stopped", run_id)
