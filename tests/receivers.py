"""Servers that take notifications, in threads: HTTP and SMTP, on free loopback ports."""

import contextlib
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Posts:
    """What an HTTP server was sent; `answers` are its status codes, the last one again and again."""

    def __init__(self, answers: list[int]) -> None:
        self.answers = answers
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.uri = ""

    @property
    def documents(self) -> list[Any]:
        return [json.loads(body) for body in self.bodies]


@contextlib.contextmanager
def posts(*answers: int) -> Iterator[Posts]:
    got = Posts(list(answers or (200,)))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.paths.append(self.path)
            got.headers.append({name.lower(): value for name, value in self.headers.items()})
            got.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(got.answers.pop(0) if len(got.answers) > 1 else got.answers[0])
            self.send_header("Location", got.uri)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        got.uri = f"http://127.0.0.1:{port}"
        yield got


class Mails:
    """What a mail server was sent: its commands, the messages and whether each came encrypted."""

    def __init__(self) -> None:
        self.port = 0
        self.commands: list[str] = []
        self.messages: list[bytes] = []
        self.encrypted: list[bool] = []


@contextlib.contextmanager
def mails(context: ssl.SSLContext | None = None, refuse: str = "") -> Iterator[Mails]:
    """
    Args:
        context: to offer STARTTLS with. refuse: the answer to RCPT in place of 250.
    """
    got = Mails()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.encrypted = False
            self._open(self.request)
            self._say("220 ready")
            while line := self.lines.readline().decode().rstrip("\r\n"):
                got.commands.append(line)
                if line == "STARTTLS" and context is not None:
                    self._say("220 go ahead")
                    self._open(context.wrap_socket(self.request, server_side=True))
                    self.encrypted = True
                elif line.upper() == "DATA":
                    self._say("354 go ahead")
                    data = iter(self.lines.readline, b".\r\n")
                    got.messages.append(b"".join(data))
                    got.encrypted.append(self.encrypted)
                    self._say("250 taken")
                else:
                    self._say(self._answer(line))  # to QUIT also 250, as a sloppy server does

        def _answer(self, line: str) -> str:
            if line.upper().startswith("EHLO"):
                offers = ["AUTH PLAIN"] if self.encrypted or context is None else ["STARTTLS"]
                return "\r\n".join(["250-here", *(f"250 {one}" for one in offers)])
            if line.startswith("AUTH"):
                return "235 welcome"
            return refuse if refuse and line.upper().startswith("RCPT") else "250 ok"

        def _open(self, connection: Any) -> None:
            self.connection, self.lines = connection, connection.makefile("rb")

        def _say(self, text: str) -> None:
            self.connection.sendall(f"{text}\r\n".encode())

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            return

    with _serving(Server(("127.0.0.1", 0), Handler)) as port:
        got.port = port
        yield got


@contextlib.contextmanager
def _serving(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
