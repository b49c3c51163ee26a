"""Asking a registry again that does not answer now."""

import logging
import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

from modelmill.core.errors import UserError, one_line
from modelmill.runtime.tracking.connection import AGAIN, Unreachable

log = logging.getLogger("modelmill")

SECONDS = 120.0
_VARIABLE = "MODELMILL_REGISTRY_SECONDS"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
T = TypeVar("T")


def patience() -> float:
    """For how many seconds a registry is asked that does not answer: `MODELMILL_REGISTRY_SECONDS`, else 120.

    Raises:
        UserError: the variable holds no such number.
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
    """Do what needs the registry; while it does not answer, do it again, with growing pauses.

    Args:
        work: may be begun any number of times. waiting: is told why it is not done yet. again: ends the message, and
            says how to go on.
    Raises:
        Unreachable: the registry did not answer for as long as `patience` says.
    """
    seconds, pause = patience(), _FIRST_PAUSE
    deadline = time.monotonic() + seconds
    while True:
        try:
            return work()
        except Unreachable as error:
            message, left = one_line(error).removesuffix(AGAIN), deadline - time.monotonic()
            if left <= 0:
                raise Unreachable(f"{message}, tried for {seconds:g} s{again}") from error
            waiting(f"MLflow does not answer, trying again for {left:.0f} s")
            log.warning("%s; trying again for %.0f s", message, left)
        # Spread out, so that many who wait do not all come back at once.
        time.sleep(min(max(left, 0.0), pause * random.uniform(0.5, 1.5)))
        pause = min(2 * pause, _LONGEST_PAUSE)
