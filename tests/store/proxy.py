"""A TCP proxy that cuts connections and refuses requests, to see what a client makes of it."""

import contextlib
import socket
import struct
import threading
from typing import Literal

Direction = Literal["requests", "answers"]
# Not SlowDown, after which boto3 waits for the better part of a minute in all.
_UNAVAILABLE = b"<Error><Code>ServiceUnavailable</Code><Message>Reduce your request rate.</Message></Error>"
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%s" % (len(_UNAVAILABLE), _UNAVAILABLE)


class Proxy:
    """Forwards to a port of this machine. `cut` and `refuse` arm it; `cuts` and `refusals` count what it has done."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._direction: Direction = "answers"
        self._after = 0
        self._left = 0
        self._hold_after: int | None = None
        self._refused = b""
        self._refusals_left = 0
        self.cuts = self.refusals = 0
        self.holding = threading.Event()

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def cut(self, direction: Direction, after: int = 0, times: int = 1) -> None:
        """Cut the next connections, `times` of them, once more than `after` bytes went that way since now."""
        with self._lock:
            self._direction, self._after, self._left = direction, after, times

    def refuse(self, header: str, times: int) -> None:
        """Answer the next requests without a body that have this header with 503, as an overloaded S3 server does."""
        with self._lock:
            self._refused, self._refusals_left = header.lower().encode(), times

    def hold_requests(self, after: int | None) -> None:
        """Stop forwarding a connection's requests after so many bytes; `holding` is set once one is stopped."""
        self._hold_after = after

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for source, target, direction in ((client, server, "requests"), (server, client, "answers")):
                    threading.Thread(target=self._pump, args=(source, target, direction), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, direction: Direction) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                # "100 Continue" comes before the body is sent; cutting there would be no lost answer.
                passed += 0 if data.startswith(b"HTTP/1.1 100") else len(data)
                if direction == "requests" and self._hold_after is not None and passed > self._hold_after:
                    self.holding.set()
                    continue
                if self._takes_cut(direction, passed):
                    break
                if direction == "requests" and self._takes_refusal(data):
                    source.sendall(_REFUSAL)
                    continue
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                # A reset, not an orderly end.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _takes_cut(self, direction: Direction, passed: int) -> bool:
        with self._lock:
            if self._left == 0 or direction != self._direction or passed <= self._after:
                return False
            self._left -= 1
            self.cuts += 1
            return True

    def _takes_refusal(self, data: bytes) -> bool:
        with self._lock:
            if self._refusals_left == 0 or b"\r\n%s:" % self._refused not in data.lower():
                return False
            self._refusals_left -= 1
            self.refusals += 1
            return True
