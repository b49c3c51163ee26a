"""How soon after a run of a recipe the next one may begin: one object a recipe, `triggers/last/NAME.json`."""

import math
import time

from pydantic import BaseModel

from modelmill.core.errors import UserError
from modelmill.store import KeyNotFound, Store

DEFAULT_SECONDS = 600.0


class CoolingDown(UserError):
    """The recipe's last run began too recently; `seconds` are left."""

    kind = "cool_down"

    def __init__(self, name: str, seconds: float, run_id: str) -> None:
        """Name the recipe, the seconds that are left, and its last run."""
        self.seconds = math.ceil(seconds)
        run = f" with run {run_id}" if run_id else ""
        super().__init__(f"{name}: cooling down{run}, {self.seconds} s are left; wait, or add --force")


class Last(BaseModel):
    """The run that was begun last, when, and for which key; `run_id` is empty until it is submitted."""

    key: str
    at: float
    run_id: str = ""


def require(store: Store, name: str, key: str, seconds: float) -> None:
    """Find out, without a write, whether a run may begin now.

    Args:
        store: Where the last runs are kept.
        name: The recipe's.
        key: The claim's.
        seconds: The cool-down.

    Raises:
        CoolingDown: Not yet.
    """
    _require(_read(store, name), name, key, seconds)


def reserve(store: Store, name: str, key: str, seconds: float) -> None:
    """Begin the next cool-down; of any number of askers with different keys at once one comes through.

    Args:
        store: Where the last runs are kept.
        name: The recipe's.
        key: The claim's.
        seconds: The cool-down.

    Raises:
        CoolingDown: Not yet.
    """
    data = Last(key=key, at=time.time()).model_dump_json().encode()
    while True:
        last = _read(store, name)
        _require(last, name, key, seconds)
        where = _key(name)
        if store.compare_and_swap(where, data, last[1]) if last else store.put_if_absent(where, data):
            return


def settle(store: Store, name: str, key: str, run_id: str | None) -> None:
    """Name the run that the cool-down is for, or end the cool-down where none came of it.

    Args:
        store: Where the last runs are kept.
        name: The recipe's.
        key: The claim's.
        run_id: The run; None where none was submitted.
    """
    last = _read(store, name)
    if last is not None and last[0].key == key:
        update = {"run_id": run_id} if run_id else {"at": 0.0}
        store.compare_and_swap(_key(name), last[0].model_copy(update=update).model_dump_json().encode(), last[1])


def _require(last: tuple[Last, str] | None, name: str, key: str, seconds: float) -> None:
    """Refuse a run within the cool-down.

    A holder that died before it had a run does not keep the next holder of the same claim from going on.
    """
    if last is None or (last[0].key == key and not last[0].run_id):
        return
    left = last[0].at + seconds - time.time()
    if left > 0:
        raise CoolingDown(name, left, last[0].run_id)


def _read(store: Store, name: str) -> tuple[Last, str] | None:
    try:
        read = store.read(_key(name))
    except KeyNotFound:
        return None
    return Last.model_validate_json(read.data), read.tag


def _key(name: str) -> str:
    return f"triggers/last/{name}.json"
