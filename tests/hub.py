"""A stand-in for a model hub: the part of its HTTP interface that huggingface_hub asks, for models in memory."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_for_tests"
_LARGE = (".safetensors", ".bin")


@dataclass
class Hub:
    """Models by name and commit, and what goes wrong with them.

    Attributes:
        uri: Its address, for HF_ENDPOINT.
        commits: Files of a model's commit, by `ORG/NAME` and commit.
        revisions: Commits, by `ORG/NAME` and branch.
        gated: Models that are given to those with a token.
        cut: Bytes that are left out at the end of a file, by its name.
        flipped: Names of files that come with one bit of their last byte flipped.
        status: What it answers to everything, in place of what it would.
        asked: Each request as method and path.
    """

    uri: str = ""
    commits: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[tuple[str, str], str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)
    flipped: set[str] = field(default_factory=set)
    status: int | None = None
    asked: list[str] = field(default_factory=list)

    def commit(self, model: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Make a commit of a branch and return its id."""
        content = json.dumps([[name, hashlib.sha256(data).hexdigest()] for name, data in sorted(files.items())])
        commit = hashlib.sha1(content.encode()).hexdigest()
        self.commits[model, commit] = files
        self.revisions[model, branch] = commit
        return commit

    def files_sent(self) -> list[str]:
        """The names of files whose content was asked for."""
        return [
            path.rpartition("/")[2]
            for method, path in map(str.split, self.asked)
            if method == "GET" and "/resolve/" in path
        ]


def etag(name: str, data: bytes) -> str:
    """A large file's is its sha256, a small one's is git's digest of a blob."""
    if name.endswith(_LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.status is not None:
            self._send(self.hub.status, b"")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            self._listing(match[1], match[2].replace("%2F", "/"))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(*match.groups())
        else:
            self._send(404, b"")

    def _commit(self, model: str, revision: str) -> str | None:
        """Return the commit of a revision, or answer why there is none."""
        if not any(name == model for name, _ in self.hub.commits):
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            return None
        commit = self.hub.revisions.get((model, revision), revision)
        if (model, commit) not in self.hub.commits:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit

    def _listing(self, model: str, revision: str) -> None:
        commit = self._commit(model, revision)
        if commit is None:
            return
        siblings = []
        for name, data in self.hub.commits[model, commit].items():
            one = {"rfilename": name, "size": len(data), "blobId": etag("", data)}
            if name.endswith(_LARGE):
                one["lfs"] = {"sha256": etag(name, data), "size": len(data), "pointerSize": 134}
            siblings.append(one)
        self._send(200, json.dumps({"id": model, "sha": commit, "siblings": siblings}).encode())

    def _file(self, model: str, revision: str, name: str) -> None:
        commit = self._commit(model, revision)
        if commit is None:
            return
        if model in self.hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, b"", {"X-Error-Code": "GatedRepo"})
            return
        data = self.hub.commits[model, commit].get(name)
        if data is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        headers = {"ETag": f'"{etag(name, data)}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(data))}
        data = data[: len(data) - self.hub.cut.get(name, 0)]
        if name in self.hub.flipped:
            data = data[:-1] + bytes([data[-1] ^ 1])
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if first:
            data = data[int(first[1]) :]
        self._send(206 if first else 200, data, headers)

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def running() -> Iterator[Hub]:
    """Serve a hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.uri = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
