"""Work that outlasts an outage of the store."""

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from modelmill.core.errors import one_line
from modelmill.store.base import StoreAway

log = logging.getLogger("modelmill")

# A store that is being replaced, or a node with it, is back by then.
SECONDS = 600.0
PAUSE = wait_random_exponential(multiplier=0.5, max=15)
T = TypeVar("T")


def outlasting(work: Callable[[], T], what: str) -> T:
    """Do work again and again while the store is away, for SECONDS, and say so in the log.

    Args:
        work: Function that may be begun any number of times.
        what: Name of the work, for the log.

    Returns:
        What `work` returns.

    Raises:
        StoreAway: The store was away all the time.
    """

    def tell(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            why = one_line(state.outcome.exception() or Exception())
            log.warning("%s; %s is tried again for %.0f s", why, what, SECONDS)

    retrying = Retrying(
        retry=retry_if_exception_type(StoreAway),
        wait=PAUSE,
        stop=stop_after_delay(SECONDS),
        before_sleep=tell,
        reraise=True,
    )
    return retrying(work)
