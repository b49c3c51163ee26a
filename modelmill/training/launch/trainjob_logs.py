"""The log of a TrainJob's first node as part of the step's, over nodes that are restarted in place or made anew."""

import itertools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from modelmill.core.errors import one_line

log = logging.getLogger("modelmill")
FIRST, CONTAINER = "node-0", "node"
_SECONDS = 30.0


class Attempt(NamedTuple):
    """One start of the first node's container.

    Attributes:
        pod: Name of the pod.
        restarts: How often the container was restarted in this pod before.
        number: Which attempt this is of all that were seen, from 1.
    """

    pod: str
    restarts: int
    number: int


class NodeLog:
    """The lines of the first node that were shown so far.

    Args:
        client: Kubeflow's client.
        poll_seconds: Time between two looks for more.
    """

    def __init__(self, client: Any, poll_seconds: float) -> None:
        """Begin with nothing shown."""
        self._client, self._poll_seconds = client, poll_seconds
        self._attempt: Attempt | None = None
        self._lines = 0

    @contextmanager
    def shown(self, name: str) -> Iterator[None]:
        """Copy the first node's log into this process's while the block runs.

        Args:
            name: Name of the TrainJob.
        """
        ended = threading.Event()
        reader = threading.Thread(target=self._copy, args=(name, ended), daemon=True, name="trainjob-logs")
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join(10)

    def _copy(self, name: str, ended: threading.Event) -> None:
        """Copy until the block has ended, and once more; a stream that breaks goes on at the line where it broke."""
        last = False
        while not last:
            last = ended.is_set()
            try:
                self._show(name, follow=not last)
            except Exception as error:
                log.debug("the log of %s is read again: %s", name, one_line(error))
            ended.wait(self._poll_seconds)

    def _show(self, name: str, follow: bool) -> None:
        pod = next((step.pod_name for step in self._client.get_job(name).steps if step.name == FIRST), None)
        if pod is None:
            return
        restarts = self._restarts_of(pod)
        before = self._attempt
        if before is None or (before.pod, before.restarts) != (pod, restarts):
            if before is not None and (before.pod, before.restarts + 1) == (pod, restarts):
                self._print(self._previous(pod))
            self._attempt, self._lines = _after(before, pod, restarts), 0
        self._print(self._client.get_job_logs(name, follow=follow))

    def _print(self, lines: Iterator[str]) -> None:
        """Print the lines of the attempt that were not shown before, without empty ones: a stream has none of them."""
        assert self._attempt is not None
        for line in itertools.islice(filter(None, lines), self._lines, None):
            log.info("%s, attempt %d: %s", FIRST, self._attempt.number, one_line(Exception(line)))
            self._lines += 1

    def _previous(self, pod: str) -> Iterator[str]:
        """Return the whole log of the container that was there before the restart."""
        backend = self._client.backend
        options = {"container": CONTAINER, "previous": True, "_request_timeout": _SECONDS}
        text = backend.core_api.read_namespaced_pod_log(pod, backend.namespace, **options)
        return iter(text.splitlines())

    def _restarts_of(self, pod: str) -> int:
        """Return how often the container was restarted in place: its log then starts anew under the same pod."""
        backend = self._client.backend
        found = backend.core_api.read_namespaced_pod(pod, backend.namespace, _request_timeout=_SECONDS)
        statuses = found.status.container_statuses or []
        return next((int(one.restart_count) for one in statuses if one.name == CONTAINER), 0)


def _after(before: Attempt | None, pod: str, restarts: int) -> Attempt:
    if before is not None and before.pod == pod:
        return Attempt(pod, restarts, before.number + restarts - before.restarts)
    return Attempt(pod, restarts, (before.number if before else 0) + 1 + restarts)
