"""Waiting for a run's end. Whatever cannot be seen for a while, the run goes on, and so does the wait."""

import time
from collections.abc import Callable
from typing import Any

from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.pipelines.cluster import client as clients
from modelmill.pipelines.cluster import following, lost, reach
from modelmill.pipelines.cluster.cancelling import ENDED
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.pipelines.run import records
from modelmill.runtime.run_records import StepRecord
from modelmill.store import Store

POLL_SECONDS = 2.0
# A store that was never seen from here is looked for this often.
STORE_SECONDS = 15.0
# So long the outcome of a run that has ended is waited for, in a store that was seen before.
OUTCOME_SECONDS = 600.0
_TIMEOUT = (5, 30)


class Outage:
    """An outage of one server, told when it begins and when it ends.

    Args:
        what: Name of the server.
        say: Tells a person.
    """

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        """Begin with a server that answers."""
        self._what, self._say = what, say
        self._since: float | None = None

    def begins(self, why: str) -> None:
        """Tell it, unless it was told."""
        if self._since is None:
            self._since = time.monotonic()
            self._say(f"{self._what} cannot be seen ({why}); the run does not need this wait, which goes on")

    def ends(self) -> None:
        """Tell it, if there was one."""
        if self._since is not None:
            self._say(f"{self._what} is seen again, after {time.monotonic() - self._since:.0f} s")
            self._since = None


class Wait:
    """A wait for the end of one run.

    Args:
        cluster: The cluster.
        run_id: The run.
        say: Tells a person a line.
        write_record: Writes the run's record, where that was not possible before, and returns why not, if so.
    """

    def __init__(
        self,
        cluster: Cluster,
        run_id: str,
        say: Callable[[str], None],
        write_record: Callable[[], str] | None = None,
    ) -> None:
        """Have seen nothing yet."""
        self._cluster, self._run_id, self._say, self._write_record = cluster, run_id, say, write_record
        self._kfp, self._store_outage = Outage("KFP", say), Outage("the store", say)
        self._client: Any = None
        self._store: Store | None = None
        self._next_look = 0.0
        self._recorded: list[StepRecord] = []
        self._is_lost = False

    def to_the_end(self, watch: Callable[[list[StepRecord]], None]) -> dict[str, Any]:
        """Wait for the run's end and return the run as `following.shown` does.

        Args:
            watch: Is shown the steps' records until then.

        Raises:
            UserError: KFP has no such run any more, or refuses the token.
        """
        last: Any = None
        with clients.explained(self._cluster):
            while True:
                last = self._ask_kfp() or last
                self._ask_store()
                if last is not None:
                    watch(following.known_steps(last, self._recorded))
                    if last.state in ENDED:
                        return self._shown(last)
                    self._tell_lost(last)
                time.sleep(POLL_SECONDS)

    def _ask_kfp(self) -> Any:
        """Return KFP's run; None while KFP cannot be asked.

        What refuses is asked once more by a new client, which reads the token's file again.
        """
        is_new, token = self._client is None, None
        try:
            token = clients.token_of(self._cluster)
            if is_new:
                self._client = clients.connect(self._cluster, token)
            run = self._client.runs.run_service_get_run(run_id=self._run_id, _request_timeout=_TIMEOUT)
            if getattr(run, "run_id", None) != self._run_id:
                raise ModelmillError(f"kfp.host {self._cluster.kfp.host}: what answers is not KFP")
        except Exception as error:
            self._client = None
            if is_new and clients.is_refusal(error):
                raise self._refused(error, token) from None
            if not clients.is_refusal(error):
                self._kfp.begins(clients.line_of(self._cluster, error, token))
            return None
        self._kfp.ends()
        return run

    def _refused(self, error: Any, token: str | None) -> UserError:
        if error.status == 404:
            return UserError(f"{self._run_id}: KFP has no such run any more; it was deleted there")
        return UserError(f"{clients.line_of(self._cluster, error, token)}; the run goes on")

    def _ask_store(self) -> None:
        """Read the steps' records; keep those of the last time while the store cannot be asked."""
        if self._store is None:
            self._look_for_store()
        if self._store is None:
            return
        if why := reach.refused(self._cluster):
            return self._store_outage.begins(why)
        try:
            self._recorded = records(self._store, self._run_id)
        except ModelmillError as error:
            return self._store_outage.begins(one_line(error))
        self._store_outage.ends()
        if self._write_record is not None and not self._write_record():
            self._write_record = None
            self._say("the run's record is written now")

    def _look_for_store(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + STORE_SECONDS
        self._store, why = reach.store_of(self._cluster)
        # Whoever could not write the record has told why.
        if self._store is None and self._write_record is None:
            self._store_outage.begins(why)

    def _tell_lost(self, run: Any) -> None:
        """Tell once that a run is lost; it may only be waiting for a node, so the wait goes on."""
        silent = lost.silent_seconds(run, lambda: self._store)
        if silent > lost.LOST_SECONDS and not self._is_lost:
            self._say(f"lost: {lost.explanation(run, silent)}")
        self._is_lost = silent > lost.LOST_SECONDS

    def _shown(self, run: Any) -> dict[str, Any]:
        """Return the run that has ended, by what is in the store; a store that was seen before is waited for."""
        until = time.monotonic() + OUTCOME_SECONDS
        while self._store is not None and time.monotonic() < until:
            why = reach.refused(self._cluster)
            try:
                if not why:
                    shown = following.shown(run, self._store, self._cluster)
                    self._store_outage.ends()
                    return shown
            except ModelmillError as error:
                why = one_line(error)
            self._store_outage.begins(why)
            time.sleep(POLL_SECONDS)
        return following.shown(run, None, self._cluster)
