"""Trigger servers for tests: the real application behind uvicorn in a thread, a client, and runs that are counted."""

import contextlib
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import uvicorn

from modelmill.pipelines.trigger import signing
from modelmill.pipelines.trigger.asking import Starter, State
from modelmill.pipelines.trigger.claims import Asker
from modelmill.pipelines.trigger.server import application
from modelmill.pipelines.trigger.signing import Secrets
from modelmill.recipe import Recipe
from modelmill.store import open_store

SECRET, BEARER = b"a secret that only tests know", b"another one, of the webhooks"
BEARER_HEADER = {"Authorization": f"Bearer {BEARER.decode()}"}


@dataclass
class Runs:
    """Stands where KFP is: counts what is submitted. `states` by run id; a run is running unless it says otherwise."""

    submitted: list[tuple[str, str, str]] = field(default_factory=list)
    states: dict[str, State] = field(default_factory=dict)
    seconds: float = 0.0

    def submit(self, recipe: Recipe, asker: Asker) -> str:
        time.sleep(self.seconds)
        self.submitted.append((recipe.name, asker.by, f"{asker.kind}: {asker.reason}"))
        return f"run-{len(self.submitted)}"

    def state_of(self, run_id: str) -> State:
        return self.states.get(run_id, "running")

    def starter(self, store: str, cool_down: float = 0.0) -> Starter:
        return Starter(open_store(store), self.submit, self.state_of, cool_down)


def no_work(runs: Runs, store_uri: str) -> bool:
    """Nothing was submitted and nothing written down."""
    return not runs.submitted and not list(open_store(store_uri).list("triggers/"))


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Any


@dataclass
class Client:
    """Asks a trigger server that listens at `url`."""

    url: str

    def trigger(self, recipe: str, timestamp: str | None = None, secret: bytes = SECRET, **body: Any) -> Answer:
        document = {"recipe": recipe, "reason": "new rows", "by": "ann", "id": uuid.uuid4().hex, **body}
        return self.signed(f"/trigger/{recipe}", json.dumps(document).encode(), timestamp, secret)

    def signed(self, path: str, body: bytes, timestamp: str | None = None, secret: bytes = SECRET) -> Answer:
        when = timestamp or str(int(time.time()))
        signature = signing.sign(secret, when, body)
        return self.post(path, body, {signing.TIMESTAMP_HEADER: when, signing.SIGNATURE_HEADER: signature})

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        return self._ask(urllib.request.Request(self.url + path, body, headers, method="POST"))

    def get(self, path: str) -> Answer:
        return self._ask(urllib.request.Request(self.url + path))

    def announced(self, path: str, count: int, headers: dict[str, str]) -> int:
        """The status that a body of so many bytes gets before one of them is sent."""
        with contextlib.closing(http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)) as connection:
            connection.request("POST", path, headers={**headers, "Content-Length": str(count)})
            return connection.getresponse().status

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").body.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)

    def _ask(self, request: urllib.request.Request) -> Answer:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as response:
                return _answer(response.status, response.read(), response.headers)
        except urllib.error.HTTPError as error:
            return _answer(error.code, error.read(), error.headers)


def _answer(status: int, body: bytes, headers: Any) -> Answer:
    is_json = headers["Content-Type"] == "application/json"
    return Answer(status, json.loads(body) if is_json else body.decode(), headers)


@contextlib.contextmanager
def serving(
    recipes: list[Recipe], starter: Starter, poll: float = 0.0, events: bytes | None = BEARER
) -> Iterator[Client]:
    """A replica on a free port until the block ends."""
    app = application(recipes, starter, Secrets(SECRET, events), poll)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Client(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(30)
