"""One process of a local run that talks to MLflow for all steps: it imports mlflow and opens the database once."""

import json
import logging
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Listener
from typing import Any

log = logging.getLogger("modelmill")

# The socket of the process that logs for others.
VARIABLE = "MODELMILL_TRACKER"


def serve(address: str, begin: Callable[[], None], handle: Callable[[dict[str, Any]], None]) -> None:
    """Answer each request, in a thread, until the process ends.

    Args:
        address: The path of a Unix socket to make.
        begin: Is called first, in the thread.
        handle: Does what a request asks for; what it raises is logged.
    """
    listener = Listener(address, "AF_UNIX")

    def work() -> None:
        begin()
        while True:
            with listener.accept() as connection:
                try:
                    handle(json.loads(connection.recv_bytes()))
                except Exception:
                    log.exception("a request to log into MLflow failed")
                connection.send_bytes(b"done")

    threading.Thread(target=work, daemon=True, name="tracker").start()


def ask(request: dict[str, Any]) -> bool:
    """Return whether another process has done what is asked for; false where there is none.

    Args:
        request: JSON.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return False
    try:
        with Client(address, "AF_UNIX") as connection:
            connection.send_bytes(json.dumps(request).encode())
            return connection.recv_bytes() == b"done"
    except (OSError, EOFError):
        return False
