"""Connections to the trigger service, bounded in number and in the time that a request's head may take."""

import asyncio
import resource
from collections import OrderedDict

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
# Connections that are accepted before the ones that are open are looked at.
BACKLOG = 64
_MOST = 1000


def most_connections() -> int:
    """Return how many connections may be open: what the limit on open files leaves, beside runs and their stores."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if files == resource.RLIM_INFINITY else max(16, min(_MOST, files // 2 - BACKLOG))


class BoundedProtocol(H11Protocol):
    """HTTP that closes a connection whose request head does not come in time.

    Where too many connections are open, the one that has waited longest for a head goes, so that a new one is answered.
    """

    _waiting: "OrderedDict[BoundedProtocol, None]" = OrderedDict()
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request's head."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > most_connections():
            oldest, _ = self._waiting.popitem(last=False)
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what has come; a head that is whole ends the waiting."""
        super().data_received(data)
        if self._is_working():
            self._stop_waiting()
        elif self._timer is None:  # for the head of a further request
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _is_working(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._waiting[self] = None
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if not self._is_working():
            self.transport.abort()

    def _stop_waiting(self) -> None:
        self._waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
