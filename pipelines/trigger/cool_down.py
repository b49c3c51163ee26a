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
        self.seconds = math.ceil(seconds)
        run = f" with run {run_id}" if run_id else ""
        super().__init__(f"{name}: cooling down{run}, {self.seconds} s are left; wait, or add --force")


class Last(BaseModel):
    """When a run was last begun, for which key; `run_id` is empty until it is submitted."""

    key: str
    at: float
    run_id: str = ""


def require(store: Store, name: str, key: str, seconds: float) -> None:
    """Find out, without a write, whether a run may begin now.

    Raises:
        CoolingDown: not yet.
    """
    _require(_read(store, name), name, key, seconds)


def reserve(store: Store, name: str, key: str, seconds: float) -> None:
    """Begin the next cool-down; of any number of askers with different keys at once one comes through.

    Raises:
        CoolingDown: not yet.
    """
    data = Last(key=key, at=time.time()).model_dump_json().encode()
    while True:
        found = _read(store, name)
        _require(found, name, key, seconds)
        where = _key(name)
        if store.compare_and_swap(where, data, found[1]) if found else store.put_if_absent(where, data):
            return


def settle(store: Store, name: str, key: str, run_id: str | None) -> None:
    """Name the run that the cool-down is for, or end the cool-down where none came of it."""
    found = _read(store, name)
    if found is not None and found[0].key == key:
        update = {"run_id": run_id} if run_id else {"at": 0.0}
        store.compare_and_swap(_key(name), found[0].model_copy(update=update).model_dump_json().encode(), found[1])


def _require(found: tuple[Last, str] | None, name: str, key: str, seconds: float) -> None:
    """A holder that died before it had a run does not keep the next holder of the same claim from going on."""
    if found is None or (found[0].key == key and not found[0].run_id):
        return
    left = found[0].at + seconds - time.time()
    if left > 0:
        raise CoolingDown(name, left, found[0].run_id)


def _read(store: Store, name: str) -> tuple[Last, str] | None:
    try:
        read = store.read(_key(name))
    except KeyNotFound:
        return None
    return Last.model_validate_json(read.data), read.tag


def _key(name: str) -> str:
    return f"triggers/last/{name}.json"
