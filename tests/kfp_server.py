"""A KFP API server for tests: state of its own behind the v2beta1 REST calls that Modelmill makes, and no others.

What it answers are serialised `kfp_server_api` models, a page at a time; a call that it does not know is 404. Another
part of the API is another `@route`.
"""

import contextlib
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import kfp_server_api as api

API = "/apis/v2beta1/"


class ApiError(Exception):
    """An error answer, as KFP's gateway words it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body or b"{}")


class Failure(NamedTuple):
    method: str
    path: str
    status: int
    times: int
    after: bool


@dataclass
class KfpServer:
    """What the server holds, by id, and what was asked of it.

    `token`: a bearer token that every call must carry. `files`: the uploaded file of each version. `page_size`: the
    most that a page holds, whatever was asked for.
    """

    url: str = ""
    tag_name: str = "2.17.0"
    token: str | None = None
    multi_user: bool = False
    page_size: int = 200
    # From CANCELING to FAILED.
    cancel_seconds: float = 0.3
    pipelines: dict[str, api.V2beta1Pipeline] = field(default_factory=dict)
    versions: dict[str, api.V2beta1PipelineVersion] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    experiments: dict[str, api.V2beta1Experiment] = field(default_factory=dict)
    runs: dict[str, api.V2beta1Run] = field(default_factory=dict)
    recurring_runs: dict[str, api.V2beta1RecurringRun] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    before: Callable[[Request], None] = lambda request: None
    lock: Any = field(default_factory=threading.RLock)

    def fail(self, method: str, path: str, status: int, times: int = 1, after: bool = False) -> None:
        """Answer the next calls whose path holds `path` with an error; `after` the work was done, if asked for."""
        self.failures.append(Failure(method, path, status, times, after))

    def asked(self, method: str, path: str) -> list[Request]:
        """The calls whose path ends so."""
        return [one for one in self.requests if one.method == method and one.path.endswith(path)]

    def end_run(self, run_id: str, state: str, error: str | None = None) -> None:
        run = self.runs[run_id]
        run.state, run.finished_at = state, now()
        run.error = api.GoogleRpcStatus(code=2, message=error) if error else None

    def set_tasks(self, run_id: str, **states: str) -> None:
        """Task details by step; a state may be `FAILED: why`."""
        tasks = []
        for name, state in states.items():
            state, _, why = state.partition(": ")
            error = api.GoogleRpcStatus(code=2, message=why) if why else None
            task = api.V2beta1PipelineTaskDetail(
                run_id=run_id,
                task_id=str(uuid.uuid4()),
                display_name=name.replace("_", "-"),
                create_time=now(),
                start_time=now(),
                end_time=None if state in {"PENDING", "RUNNING"} else now(),
                state=state,
                error=error,
            )
            tasks.append(task)
        self.runs[run_id].run_details = api.V2beta1RunDetails(task_details=tasks)


Route = Callable[[KfpServer, Request, dict[str, str]], Any]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, path: str) -> Callable[[Route], Route]:
    """Register a call; `{name}` in the path is handed over by name."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", API + path) + "$")

    def add(function: Route) -> Route:
        ROUTES.append((method, pattern, function))
        return function

    return add


def now() -> datetime:
    return datetime.now(UTC)


def page(server: KfpServer, request: Request, kind: str, found: list[Any], response: Any) -> Any:
    """One page of what the request's filter lets through, newest first where it asks so."""
    for predicate in json.loads(request.query.get("filter") or "{}").get("predicates", []):
        assert str(predicate["operation"]) in {"1", "EQUALS"}, predicate
        found = [one for one in found if getattr(one, predicate["key"]) == predicate["stringValue"]]
    if request.query.get("sort_by"):
        key, _, order = request.query["sort_by"].partition(" ")
        found = sorted(found, key=lambda one: getattr(one, key), reverse=order == "desc")
    size = min(int(request.query.get("page_size") or 20), server.page_size)
    start = int(request.query.get("page_token") or 0)
    more = str(start + size) if start + size < len(found) else None
    return response(**{kind: found[start : start + size], "total_size": len(found), "next_page_token": more})


def find(known: dict[str, Any], key: str) -> Any:
    if key not in known:
        raise ApiError(404, f"ResourceNotFoundError: {key} not found")
    return known[key]


def from_json(request: Request, model: str) -> Any:
    """The body as a model, which is what the real server would read of it."""
    return api.ApiClient().deserialize(type("Answer", (), {"data": request.body.decode()}), model)


@route("GET", "healthz")
def healthz(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    # The model has no version; the real server answers more than the model knows.
    health = api.V2beta1GetHealthzResponse(multi_user=server.multi_user, pipeline_store="database")
    return {**health.to_dict(), "tag_name": server.tag_name, "commit_sha": "0" * 40}


@route("GET", "pipelines")
def list_pipelines(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    return page(server, request, "pipelines", list(server.pipelines.values()), api.V2beta1ListPipelinesResponse)


@route("POST", "pipelines")
def create_pipeline(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    pipeline = from_json(request, "V2beta1Pipeline")
    if any(one.display_name == pipeline.display_name for one in server.pipelines.values()):
        raise ApiError(409, f"The name {pipeline.display_name} already exists. Please specify a new name")
    pipeline.pipeline_id, pipeline.created_at = str(uuid.uuid4()), now()
    return server.pipelines.setdefault(pipeline.pipeline_id, pipeline)


@route("GET", "pipelines/{pipeline}/versions")
def list_versions(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    found = [one for one in server.versions.values() if one.pipeline_id == names["pipeline"]]
    return page(server, request, "pipeline_versions", found, api.V2beta1ListPipelineVersionsResponse)


@route("GET", "pipelines/{pipeline}/versions/{version}")
def get_version(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    return find(server.versions, names["version"])


@route("POST", "pipelines/upload_version")
def upload_version(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    pipeline, name = find(server.pipelines, request.query["pipelineid"]).pipeline_id, request.query["name"]
    if any((one.pipeline_id, one.display_name) == (pipeline, name) for one in server.versions.values()):
        raise ApiError(409, "Failed to create a pipeline version")
    version = api.V2beta1PipelineVersion(
        pipeline_id=pipeline, pipeline_version_id=str(uuid.uuid4()), display_name=name, name=name, created_at=now()
    )
    server.files[version.pipeline_version_id] = uploaded(request)
    return server.versions.setdefault(version.pipeline_version_id, version)


def uploaded(request: Request) -> bytes:
    """The file of a multipart form."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    part = message_from_bytes(head + request.body).get_payload()[0]
    return part.get_payload(decode=True)


@route("GET", "experiments")
def list_experiments(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    return page(server, request, "experiments", list(server.experiments.values()), api.V2beta1ListExperimentsResponse)


@route("POST", "experiments")
def create_experiment(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    experiment = from_json(request, "V2beta1Experiment")
    if any(one.display_name == experiment.display_name for one in server.experiments.values()):
        raise ApiError(409, f"The name {experiment.display_name} already exists. Please specify a new name")
    experiment.experiment_id, experiment.created_at = str(uuid.uuid4()), now()
    return server.experiments.setdefault(experiment.experiment_id, experiment)


@route("GET", "runs")
def list_runs(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    wanted = request.query.get("experiment_id")
    found = [one for one in server.runs.values() if wanted in (None, one.experiment_id)]
    return page(server, request, "runs", found, api.V2beta1ListRunsResponse)


@route("POST", "runs")
def create_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    run = from_json(request, "V2beta1Run")
    find(server.experiments, run.experiment_id)
    find(server.versions, run.pipeline_version_reference.pipeline_version_id)
    run.run_id, run.created_at, run.state = str(uuid.uuid4()), now(), "PENDING"
    return server.runs.setdefault(run.run_id, run)


@route("GET", "runs/{run}")
def get_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    return find(server.runs, names["run"])


@route("POST", "runs/{run}:terminate")
def terminate_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    run = server.runs.get(names["run"])
    if run is None:
        why = f"due to error fetching the run: Failed to fetch run {names['run']}: ResourceNotFoundError: Run"
        raise ApiError(404, f"Failed to terminate a run: Failed to terminate run {names['run']} {why} not found")
    if run.state not in {"PENDING", "RUNNING"}:
        why = f"Invalid input error: Failed to terminate a run {run.run_id}. Row not found"
        raise ApiError(400, f"Failed to terminate a run: Failed to terminate run {run.run_id}: {why}")
    run.state, run.state_history = "CANCELING", history(run, "CANCELING")
    threading.Thread(target=end_cancelled, args=(server, run), daemon=True).start()
    return {}


def end_cancelled(server: KfpServer, run: Any) -> None:
    """What becomes of a run that is stopped: FAILED, as any other that fails; CANCELED is never set."""
    time.sleep(server.cancel_seconds)
    with server.lock:
        run.state, run.finished_at, run.state_history = "FAILED", now(), history(run, "FAILED")


def history(run: Any, state: str) -> list[Any]:
    return [*(run.state_history or []), api.V2beta1RuntimeStatus(state=state, update_time=now())]


@route("GET", "recurringruns")
def list_recurring_runs(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    wanted = request.query.get("experiment_id")
    found = [one for one in server.recurring_runs.values() if wanted in (None, one.experiment_id)]
    return page(server, request, "recurring_runs", found, api.V2beta1ListRecurringRunsResponse)


@route("POST", "recurringruns")
def create_recurring_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    recurring = from_json(request, "V2beta1RecurringRun")
    find(server.experiments, recurring.experiment_id)
    recurring.recurring_run_id, recurring.created_at = str(uuid.uuid4()), now()
    recurring.status = "ENABLED" if recurring.mode == "ENABLE" else "DISABLED"
    return server.recurring_runs.setdefault(recurring.recurring_run_id, recurring)


@route("GET", "recurringruns/{recurring}")
def get_recurring_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    return find(server.recurring_runs, names["recurring"])


@route("DELETE", "recurringruns/{recurring}")
def delete_recurring_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    find(server.recurring_runs, names["recurring"])
    del server.recurring_runs[names["recurring"]]
    return {}


@route("POST", "recurringruns/{recurring}:enable")
def enable_recurring_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    recurring = find(server.recurring_runs, names["recurring"])
    recurring.mode, recurring.status = "ENABLE", "ENABLED"
    return {}


@route("POST", "recurringruns/{recurring}:disable")
def disable_recurring_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    recurring = find(server.recurring_runs, names["recurring"])
    recurring.mode, recurring.status = "DISABLE", "DISABLED"
    return {}


def answer(server: KfpServer, request: Request) -> tuple[int, Any]:
    """The status and the document that a request gets."""
    server.before(request)
    with server.lock:
        server.requests.append(request)
        try:
            if server.token is not None and request.headers.get("authorization") != f"Bearer {server.token}":
                raise ApiError(401, "Unauthenticated: the token is not valid or has expired")
            failure = next((f for f in server.failures if f.method == request.method and f.path in request.path), None)
            if failure and not failure.after:
                raise _fails(server, failure)
            done = _work(server, request)
            if failure:
                raise _fails(server, failure)
            return 200, api.ApiClient().sanitize_for_serialization(done)
        except ApiError as error:
            return error.status, {"code": error.status, "message": error.message, "error": error.message}


def _fails(server: KfpServer, failure: Failure) -> ApiError:
    server.failures.remove(failure)
    if failure.times > 1:
        server.failures.insert(0, failure._replace(times=failure.times - 1))
    return ApiError(failure.status, f"asked to fail with {failure.status}")


def _work(server: KfpServer, request: Request) -> Any:
    for method, pattern, function in ROUTES:
        if method == request.method and (match := pattern.match(request.path)):
            return function(server, request, match.groupdict())
    raise ApiError(404, f"Not Found: {request.method} {request.path}")


@contextlib.contextmanager
def serving_kfp(**settings: Any) -> Iterator[KfpServer]:
    """A server on a free port until the block ends."""
    server = KfpServer(**settings)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            split = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            query = dict(parse_qsl(split.query))
            status, document = answer(server, Request(self.command, unquote(split.path), query, headers, body))
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = do

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: a test's output is its own."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            httpd.shutdown()
