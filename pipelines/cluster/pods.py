"""What the pods of a run say to the person who waits for it, where Kubernetes can be asked from here."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from modelmill.pipelines.cluster.settings import Cluster
from modelmill.runtime.pods import reading, why
from modelmill.runtime.run_records import StepRecord

# A run that has not moved for so long is asked why; so is a pod that has waited for so long.
SECONDS = 60.0
# A pod that is a few seconds old waits for nothing special, also in a run that has not moved for a minute.
_YOUNG = 15.0


class Watch:
    """A view of a run's records that also says, once a minute, what its pods wait for or why they were tried again."""

    def __init__(
        self, run_id: str, cluster: Cluster, show: Callable[[list[StepRecord]], None], say: Callable[[str], None]
    ) -> None:
        """Begin with a run that has just been asked for.

        Args:
            run_id: The run.
            cluster: The cluster.
            show: Is shown the steps' records.
            say: Is told a line.
        """
        self._run_id, self._cluster, self._show, self._say = run_id, cluster, show, say
        self._seen: list[tuple[Any, ...]] = []
        self._moved = self._asked = time.monotonic()
        self._said: set[str] = set()
        self._waits_for: str | None = None

    def __call__(self, records: list[StepRecord]) -> None:
        """Show the records, and ask Kubernetes if it is time.

        Args:
            records: The steps' records as they are now.
        """
        self._show(records)
        now = time.monotonic()
        seen = [(record.name, record.status, record.started, record.progress) for record in records]
        if seen != self._seen:
            self._seen, self._moved, self._waits_for = seen, now, None
        has_stopped = self._asked < self._moved + SECONDS <= now
        if has_stopped or now - self._asked >= SECONDS:
            self._asked = now
            # Whatever Kubernetes answers, it does not end a wait.
            with contextlib.suppress(Exception):
                self._ask(stands_still=now - self._moved >= SECONDS)

    def _ask(self, stands_still: bool) -> None:
        kubernetes = reading.connect(self._cluster.kfp.namespace)
        if kubernetes is None:
            return
        for pod, said in why.tried_again(kubernetes, self._run_id).items():
            if pod not in self._said:
                self._said.add(pod)
                self._say(said)
        waits_for = why.waiting(kubernetes, self._run_id, _YOUNG) if stands_still else None
        if waits_for and waits_for != self._waits_for:
            self._waits_for = waits_for
            self._say(f"waiting: {waits_for}")


def explained(shown: dict[str, Any], cluster: Cluster) -> dict[str, Any]:
    """Return a run as `following.shown` describes it, with what it waits for, or why it ended where KFP does not say.

    Args:
        shown: The description.
        cluster: The cluster.
    """
    has_ended = shown["exit_code"] is not None
    told = {**shown, "waiting_for": None}
    if has_ended and shown["reason"] != f"KFP says {shown['state']}":
        return told
    kubernetes = reading.connect(cluster.kfp.namespace)
    if kubernetes is None:
        return told
    if has_ended:
        return {**told, "reason": why.run_ended(kubernetes, shown["run_id"]) or shown["reason"]}
    return {**told, "waiting_for": why.waiting(kubernetes, shown["run_id"], SECONDS)}
