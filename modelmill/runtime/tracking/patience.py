"""Retries of work on a registry that does not answer."""

import logging
import os
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from modelmill.core.errors import UserError, one_line
from modelmill.runtime.tracking.connection import AGAIN, Unreachable

log = logging.getLogger("modelmill")

SECONDS = 120.0
_VARIABLE = "MODELMILL_REGISTRY_SECONDS"
# Between 0.25 and 15 s, drawn, so that many who wait do not all come back at once.
_PAUSE = wait_random_exponential(multiplier=0.75, min=0.25, max=15)
T = TypeVar("T")


def patience() -> float:
    """Return the seconds for which a silent registry is asked: `MODELMILL_REGISTRY_SECONDS`, else 120.

    Raises:
        UserError: The variable is not a number of seconds.
    """
    given = os.environ.get(_VARIABLE, str(SECONDS))
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(f"{_VARIABLE}: {given!r} is not a number of seconds, such as 120")
    return seconds


def patiently(work: Callable[[], T], waiting: Callable[[str], None], again: str = AGAIN) -> T:
    """Do work that needs the registry, again and with growing pauses while the registry does not answer.

    Args:
        work: Function that may be begun any number of times.
        waiting: Told before each pause why the work is not done yet.
        again: End of the error message: how to go on.

    Returns:
        What `work` returns.

    Raises:
        Unreachable: The registry did not answer for as long as `patience` says.
    """
    seconds = patience()

    def left(state: RetryCallState) -> float:
        return max(0.0, seconds - (state.seconds_since_start or 0.0))

    def tell(state: RetryCallState) -> None:
        waiting(f"MLflow does not answer, trying again for {left(state):.0f} s")
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s; trying again for %.0f s", _message(error), left(state))

    retrying = Retrying(
        retry=retry_if_exception_type(Unreachable),
        wait=lambda state: min(left(state), _PAUSE(state)),
        stop=stop_after_delay(seconds),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return retrying(work)
    except Unreachable as error:
        raise Unreachable(f"{_message(error)}, tried for {seconds:g} s{again}") from error


def _message(error: BaseException | None) -> str:
    return one_line(error).removesuffix(AGAIN) if error else ""
