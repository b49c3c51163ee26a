"""Ask for a run: started, or found already asked for, or refused because the last one was too recent."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from modelmill.pipelines.trigger import claims, cool_down
from modelmill.pipelines.trigger.claims import Asker, Claim, Wanted
from modelmill.recipe import Recipe
from modelmill.runtime import run_records
from modelmill.store import Store

# `refused` is a gate's verdict or a user's mistake: the same data and recipe would get it again.
State = Literal["running", "succeeded", "refused", "failed"]
# An event or a poll says that data have changed; it is no reason to try again what has failed on the same data.
_AUTOMATIC = ("event", "poll")


class Answer(NamedTuple):
    """An answer to who asked for a run; `run_id` is None while another asker is still submitting the run."""

    result: Literal["started", "deduplicated"]
    run_id: str | None
    key: str


@dataclass(frozen=True)
class Starter:
    """Starter of runs.

    Attributes:
        store: Where claims are kept.
        submit: Starts a run of a recipe for an asker; returns its id.
        state_of: Returns the state of a run.
        cool_down: Seconds from a run of a recipe to the next, for other data.
        cancel: Stops a run for somebody; returns what could not be done.
    """

    store: Store
    submit: Callable[[Recipe, Asker], str]
    state_of: Callable[[str], State]
    cool_down: float = cool_down.DEFAULT_SECONDS
    cancel: Callable[[str, str], list[str]] = lambda run_id, by: ["only the run's steps can be asked to end from here"]
    # Threads of one process wait here for each other, not in the store by trying again.
    _joining: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def ask(self, recipe: Recipe, asker: Asker, force: bool = False, want: Wanted | None = None) -> Answer:
        """Start the recipe's run on its data as they are now, unless it was started already.

        Args:
            recipe: The resolved recipe.
            asker: Who asks, and why.
            force: Begin within the cool-down, and again where the last run on the same data has ended at a gate.
            want: The digests, where they are known.

        Raises:
            CoolingDown: The recipe's last run began too recently.
            UserError: The data, or what `submit` finds wrong; the claim is then free again.
        """
        want = want or claims.wanted(recipe, self.store)
        seconds = 0.0 if force else self.cool_down
        while True:
            known = claims.find(self.store, want.key)
            if known is not None and not self._may_take(known[0], asker, force):
                with self._joining:
                    joined = claims.join(self.store, want.key, asker)
                return Answer("deduplicated", joined.run_id if joined else known[0].run_id, want.key)
            cool_down.require(self.store, recipe.name, want.key, seconds)
            mine = claims.take(self.store, want, asker, known)
            if mine is not None:
                return Answer("started", self._start(recipe, want, asker, mine, seconds), want.key)

    def _may_take(self, claim: Claim, asker: Asker, force: bool) -> bool:
        if claim.run_id is None:
            return claim.is_abandoned(time.time())
        if asker.kind in _AUTOMATIC:
            return False
        state = self.state_of(claim.run_id)
        return state == "failed" or (force and state == "refused")

    def _start(self, recipe: Recipe, want: Wanted, asker: Asker, mine: Claim, seconds: float) -> str:
        reserved = False
        try:
            cool_down.reserve(self.store, recipe.name, want.key, seconds)
            reserved = True
            run_id = self.submit(recipe, asker)
        except BaseException:
            # What went wrong is worth more than what goes wrong here; an abandoned claim is taken over in time.
            with contextlib.suppress(Exception):
                claims.give_up(self.store, want.key, mine)
                if reserved:
                    cool_down.settle(self.store, recipe.name, want.key, None)
            raise
        claims.complete(self.store, want.key, mine, run_id)
        cool_down.settle(self.store, recipe.name, want.key, run_id)
        return run_id


def state_in(store: Store, run_id: str) -> State:
    """Return the state of a run from what its exit handler has left in the store."""
    outcome = run_records.read_outcome(store, run_id)
    if outcome is None:
        return "running"
    code = outcome.get("exit_code")
    return "succeeded" if code == 0 else "refused" if code in (2, 3) else "failed"
