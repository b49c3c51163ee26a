"""An HTTP proxy before an object store that goes wrong in a share of its requests, in every way that a network can."""

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_UNAVAILABLE = b"<Error><Code>ServiceUnavailable</Code><Message>Reduce your request rate.</Message></Error>"
FAULTS = ("unavailable", "reset before", "reset inside", "reset after", "answer lost", "done twice", "slow")


class Chaos:
    """Forwards to a port of this machine; `share` of the requests meet a fault, drawn from `FAULTS` by a seed.

    Attributes:
        faults: How often each fault has happened, by its name.
        endpoint: URL of the proxy.
    """

    def __init__(self, port: int, share: float, seed: int = 0) -> None:
        self.faults: Counter[str] = Counter()
        self._random, self._lock, self._share = random.Random(seed), threading.Lock(), share
        chaos = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                chaos._serve(self, port)

            do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Chaos":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler, port: int) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        fault = self._draw()
        if fault == "unavailable":
            _answer(handler, 503, [], _UNAVAILABLE)
        elif fault == "reset before":
            _reset(handler)
        else:
            with contextlib.suppress(OSError, http.client.HTTPException):
                for _ in range(2 if fault == "done twice" else 1):
                    status, headers, data = _forward(handler, port, body)
                _give(handler, fault, status, headers, data)

    def _draw(self) -> str | None:
        with self._lock:
            if self._random.random() >= self._share:
                return None
            fault = self._random.choice(FAULTS)
            self.faults[fault] += 1
            return fault


def _forward(handler: BaseHTTPRequestHandler, port: int, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Send the request as it came, for it is signed, and return the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            if name.lower() not in ("expect", "connection"):
                connection.putheader(name, value)
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()


def _give(
    handler: BaseHTTPRequestHandler, fault: str | None, status: int, headers: list[tuple[str, str]], data: bytes
) -> None:
    if fault == "answer lost":
        _reset(handler)
    elif fault == "reset inside":
        _answer(handler, status, headers, data, sent=len(data) // 2)
        _reset(handler)
    else:
        _answer(handler, status, headers, data, is_slow=fault == "slow")
        if fault == "reset after":
            _reset(handler)


def _answer(
    handler: BaseHTTPRequestHandler,
    status: int,
    headers: list[tuple[str, str]],
    data: bytes,
    sent: int | None = None,
    is_slow: bool = False,
) -> None:
    handler.send_response_only(status)
    names = {name.lower() for name, _ in headers}
    for name, value in headers:
        if name.lower() not in ("transfer-encoding", "connection"):
            handler.send_header(name, value)
    if "content-length" not in names:
        handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    if handler.command == "HEAD":
        return
    for start in range(0, len(data), 4096 if is_slow else max(1, len(data))):
        handler.wfile.write(data[start : start + 4096 if is_slow else sent])
        time.sleep(0.01 if is_slow else 0)
    handler.wfile.flush()


def _reset(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        handler.connection.close()
