"""Messages on how a run ended: by webhook, Slack and e-mail, where the environment names them."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed

from modelmill.components.reporting import notify_channels as channels
from modelmill.components.reporting.notify_words import Message
from modelmill.components.reporting.outcome import IDLE, REGISTERED
from modelmill.core import digest
from modelmill.core.errors import one_line
from modelmill.store import KeyNotFound, Store

log = logging.getLogger("modelmill")

ALWAYS, FAILURE, CHANGE = "always", "failure", "change"
# Seconds before the second and the third try, and how long all tries may take together.
PAUSES = (1.0, 3.0)
DEADLINE_SECONDS = 60.0
_VARIABLE = "MODELMILL_NOTIFY_ON"


def send(store: Store, recipe: str, outcome: dict[str, Any]) -> None:
    """Send the outcome to everybody who is to hear of it.

    Nothing is raised: a failure is one warning without the address, which is a secret.

    Args:
        store: The store, which holds the last outcome that was sent.
        recipe: The recipe's name.
        outcome: The document of `outcome.json`.
    """
    try:
        targets = channels.configured()
        if targets and _is_wanted(store, recipe, outcome["outcome"]):
            message = Message.of(recipe, outcome)
            sent = _send_all({name: partial(one, message) for name, one in targets.items()})
            if sent:
                _remember(store, recipe, outcome["outcome"])
    except Exception as error:
        log.warning("nobody was told how the run ended: %s", type(error).__name__)


def _is_wanted(store: Store, recipe: str, ended: str) -> bool:
    wanted = os.environ.get(_VARIABLE, ALWAYS)
    if wanted not in (ALWAYS, FAILURE, CHANGE):
        log.warning("%s: not one of always, failure, change; it is taken as always", _VARIABLE)
    if ended == IDLE:  # neither a failure nor a change: the last outcome stands
        return wanted not in (FAILURE, CHANGE)
    if wanted == FAILURE:
        return ended != REGISTERED
    return wanted != CHANGE or _last(store, recipe) != ended


def _last(store: Store, recipe: str) -> str | None:
    """Return the outcome that was last sent of this recipe."""
    try:
        return str(json.loads(store.get(_key(recipe)))["outcome"])
    except (KeyNotFound, ValueError, TypeError, KeyError):
        return None


def _remember(store: Store, recipe: str, ended: str) -> None:
    if os.environ.get(_VARIABLE) == CHANGE:
        store.put(_key(recipe), digest.canonical_json({"outcome": ended, "recipe": recipe}))


def _key(recipe: str) -> str:
    return f"notified/{digest.of_bytes(recipe.encode('utf-8', 'replace'))[:16]}.json"


def _send_all(sends: dict[str, Callable[[], None]]) -> list[str]:
    """Call all at once, and return the names of those that succeeded before the deadline."""
    done: dict[str, bool] = {}

    def work(name: str) -> None:
        done[name] = _try(name, sends[name])

    threads = {name: threading.Thread(target=work, args=(name,), daemon=True) for name in sends}
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + DEADLINE_SECONDS
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            log.warning("the notification by %s was not sent: it took over %.0f s", name, DEADLINE_SECONDS)
    return [name for name, came_through in list(done.items()) if came_through]


def _try(name: str, send_once: Callable[[], None]) -> bool:
    """Send, and try again after a pause while a later try may succeed."""
    retrying = Retrying(
        retry=retry_if_exception(lambda error: channels.explain(error)[1]),
        wait=wait_chain(*map(wait_fixed, PAUSES)),
        stop=stop_after_attempt(1 + len(PAUSES)),
        reraise=True,
    )
    try:
        retrying(send_once)
    except Exception as error:
        reason, _ = channels.explain(error)
        log.warning("the notification by %s was not sent: %s", name, one_line(Exception(reason)))
        return False
    log.info("notification sent by %s", name)
    return True
