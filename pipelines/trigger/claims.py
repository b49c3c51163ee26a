"""Who may start the run of a recipe on its data: a claim in the store, taken and changed by conditional writes only."""

import time
import uuid
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ValidationError
from tenacity import RetryError, Retrying, TryAgain, retry_if_exception_type, stop_after_attempt, wait_random

from modelmill import recipe as recipes
from modelmill.core import digest
from modelmill.core.errors import ModelmillError
from modelmill.recipe import Recipe
from modelmill.runtime import external_inputs
from modelmill.store import KeyNotFound, Store

Kind = Literal["manual", "event", "poll", "schedule", "drift"]
# A holder that has not submitted its run after so many seconds is taken for dead.
HOLDER_SECONDS = 300.0
# Askers that a claim keeps by name, the first ones; the others are only counted where that costs no write.
MOST_ASKERS = 100
_TRIES = 200


class Asker(BaseModel):
    """Person or program that asked for a run, with why and when (seconds since 1970)."""

    by: str
    kind: Kind
    reason: str
    at: float = 0.0


class Claim(BaseModel):
    """A claim on the run of a recipe on its data, `triggers/KEY.json`.

    `holder` is the attempt that submits the run, empty where it gave up; `run_id` is its run. `attempt` counts the runs
    that were begun for this key: the first, and one for each that failed or whose holder died.
    """

    recipe: str
    recipe_digest: str
    data_digest: str
    holder: str
    since: float
    run_id: str | None = None
    attempt: int = 1
    askers: list[Asker] = []

    def is_abandoned(self, now: float) -> bool:
        """Return whether its holder gave up or died before it had a run."""
        return self.run_id is None and (not self.holder or now - self.since > HOLDER_SECONDS)


class Wanted(BaseModel):
    """Work that a trigger asks for: a recipe on the data as they are now; `key` names the two."""

    recipe: str
    recipe_digest: str
    data_digest: str

    @property
    def key(self) -> str:
        """Return the digest of the recipe and its data."""
        return digest.of_json({"recipe": self.recipe_digest, "data": self.data_digest})


def wanted(recipe: Recipe, store: Store) -> Wanted:
    """Return the digests of the recipe and of its data.

    Args:
        recipe: The resolved recipe.
        store: The store of the runs.

    Raises:
        UserError: The data cannot be read or there are none.
    """
    data = external_inputs.digests("data_validation", recipe, store)["source.data"]
    text = recipes.to_json(recipe).encode()
    return Wanted(recipe=recipe.name, recipe_digest=digest.of_bytes(text), data_digest=data)


def key_of(key: str) -> str:
    """Return the key of a claim in the store."""
    return f"triggers/{key}.json"


def find(store: Store, key: str) -> tuple[Claim, str] | None:
    """Return the claim and the tag of this version of it, None if there is none."""
    try:
        read = store.read(key_of(key))
    except KeyNotFound:
        return None
    try:
        return Claim.model_validate_json(read.data), read.tag
    except ValidationError:
        raise ModelmillError(f"{store.uri}/{key_of(key)}: not a claim; delete it and ask again") from None


def take(store: Store, want: Wanted, asker: Asker, seen: tuple[Claim, str] | None) -> Claim | None:
    """Become the holder; return the new claim, or None where somebody else was faster.

    Args:
        store: Where claims are kept.
        want: The recipe and its data.
        asker: Who asks.
        seen: The claim to be taken over, with its tag, if there is one.
    """
    now = time.time()
    before = seen[0] if seen else None
    claim = Claim(
        **want.model_dump(),
        holder=uuid.uuid4().hex,
        since=now,
        attempt=before.attempt + 1 if before else 1,
        askers=_with(before.askers if before else [], asker, now),
    )
    data = claim.model_dump_json().encode()
    if seen is None:
        return claim if store.put_if_absent(key_of(want.key), data) else None
    return claim if store.compare_and_swap(key_of(want.key), data, seen[1]) else None


def join(store: Store, key: str, asker: Asker) -> Claim | None:
    """Add an asker to a claim that somebody holds; return it as it is then.

    Args:
        store: Where claims are kept.
        key: The claim's.
        asker: Who asks.
    """

    def add(claim: Claim) -> Claim | None:
        if len(claim.askers) >= MOST_ASKERS:
            return None
        return claim.model_copy(update={"askers": _with(claim.askers, asker, time.time())})

    return _change(store, key, add)


def complete(store: Store, key: str, mine: Claim, run_id: str) -> bool:
    """Write the run into the claim; return False where it was taken over meanwhile.

    Args:
        store: Where claims are kept.
        key: The claim's.
        mine: The claim as it was taken.
        run_id: The run that was submitted.
    """
    after = _change(store, key, lambda now: _if_held(now, mine, {"run_id": run_id}))
    return after is not None and after.holder == mine.holder


def give_up(store: Store, key: str, mine: Claim) -> None:
    """Leave the claim to whoever asks next.

    Args:
        store: Where claims are kept.
        key: The claim's.
        mine: The claim as it was taken.
    """
    _change(store, key, lambda now: _if_held(now, mine, {"holder": ""}))


def _if_held(now: Claim, mine: Claim, update: dict[str, str]) -> Claim | None:
    return now.model_copy(update=update) if now.holder == mine.holder else None


def _with(askers: list[Asker], asker: Asker, now: float) -> list[Asker]:
    return [*askers, asker.model_copy(update={"at": now})][:MOST_ASKERS]


def _change(store: Store, key: str, change: Callable[[Claim], Claim | None]) -> Claim | None:
    """Change the claim by compare-and-swap until nobody comes in between; `change` returns None to leave it."""

    def try_once() -> Claim | None:
        current = find(store, key)
        if current is None:
            return None
        before, tag = current
        after = change(before)
        if after is None:
            return before
        if not store.compare_and_swap(key_of(key), after.model_dump_json().encode(), tag):
            raise TryAgain
        return after

    retrying = Retrying(
        retry=retry_if_exception_type(TryAgain), wait=wait_random(0, 0.05), stop=stop_after_attempt(_TRIES)
    )
    try:
        return retrying(try_once)
    except RetryError:
        where = f"{store.uri}/{key_of(key)}"
        raise ModelmillError(f"{where}: changed by others again and again; ask again") from None
