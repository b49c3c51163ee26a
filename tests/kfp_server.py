"""A KFP API server for tests: state of its own behind the v2beta1 REST calls that Modelmill makes, and no others.

What it answers are serialised `kfp_server_api` models, a page at a time; a call that it does not know is 404. Another
part of the API is another `@route`. What surprises is as a KFP 2.17 on MySQL has it: a description that is too long is
refused after its Workflow was started, deleting a recurring run ends what it has started, tasks stop being updated in a
Workflow that has grown, and no run or task ever has an error.
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

from tests import kfp_parameters, kfp_specs, kfp_tasks

API = "/apis/v2beta1/"
GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}


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


class Workflow(NamedTuple):
    """What runs in Kubernetes: of a run, listed by KFP or not, and of a recurring run where one has started it."""

    run_id: str
    recurring_run_id: str | None


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
    most that a page holds, whatever was asked for. `workflows`: those that are in Kubernetes, which may be more or
    fewer than the runs that go on. `node_bytes`: what each task adds to its Workflow's nodes.
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
    workflows: list[Workflow] = field(default_factory=list)
    scheduled_workflows: set[str] = field(default_factory=set)
    node_bytes: int = 10_000
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

    def end_run(self, run_id: str, state: str) -> None:
        run = self.runs[run_id]
        run.state, run.finished_at = state, now()
        self.workflows = [one for one in self.workflows if one.run_id != run_id]

    def set_tasks(self, run_id: str, **states: str) -> None:
        """Task details by step, with all that KFP lists beside them; no longer once the nodes have passed 1 MiB."""
        tasks = kfp_tasks.details(run_id, states)
        if len(tasks) * self.node_bytes <= kfp_tasks.LARGEST_NODES:
            self.runs[run_id].run_details = api.V2beta1RunDetails(task_details=tasks)

    def fire(self, recurring_id: str) -> str:
        """Start a run of a recurring run, as its time does; return its id."""
        recurring = self.recurring_runs[recurring_id]
        run = api.V2beta1Run(
            run_id=str(uuid.uuid4()),
            experiment_id=recurring.experiment_id,
            display_name=f"{recurring.display_name.replace('-', '')}wjkhb-1-4005989485",
            pipeline_version_reference=recurring.pipeline_version_reference,
            recurring_run_id=recurring_id,
            created_at=now(),
            scheduled_at=now(),
            finished_at=kfp_tasks.NOT_YET,
            state="RUNNING",
        )
        self.runs[run.run_id] = run
        self.workflows.append(Workflow(run.run_id, recurring_id))
        return run.run_id


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


def find(known: dict[str, Any], key: str, kind: str = "Resource") -> Any:
    if key not in known:
        raise ApiError(404, f"Failed to get it: ResourceNotFoundError: {kind} {key} not found")
    return known[key]


def store_row(kind: str, row: Any) -> None:
    """What the database does with a row: its column holds 255 characters, and it has no say in what was started."""
    if len(row.description or "") > 255:
        why = "Error 1406 (22001): Data too long for column 'Description' at row 1"
        raise ApiError(
            500,
            f"Failed to create a new {kind}: Failed to create a {kind}: InternalServerError: Failed to store {kind} "
            f"{row.display_name} to table: {why}",
        )


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
    file = uploaded(request)
    if wrong := kfp_specs.wrong_with(file):
        raise ApiError(400, f"Failed to create a pipeline version: Invalid input error: {wrong}")
    server.files[version.pipeline_version_id] = file
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
    find(server.experiments, run.experiment_id, "Experiment")
    file = file_of(server, "run", run.pipeline_version_reference)
    check_parameters(file, run, "Failed to create a new run")
    run.run_id, run.created_at, run.state = str(uuid.uuid4()), now(), "PENDING"
    run.finished_at = kfp_tasks.NOT_YET
    server.workflows.append(Workflow(run.run_id, None))
    store_row("run", run)
    return server.runs.setdefault(run.run_id, run)


def file_of(server: KfpServer, kind: str, reference: Any) -> bytes:
    version = reference.pipeline_version_id
    if version not in server.files:
        raise ApiError(
            500,
            f"Failed to create a new {kind}: InternalServerError: Failed to create a {kind} due to error fetching "
            f"manifest: ResourceNotFoundError: PipelineVersion {version} not found",
        )
    return server.files[version]


def check_parameters(file: bytes, asked: Any, failed: str) -> None:
    given = (asked.runtime_config.parameters if asked.runtime_config else None) or {}
    if said := kfp_parameters.refusal(file, given):
        raise ApiError(400, f"{failed}: {said}")


@route("GET", "runs/{run}")
def get_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    return find(server.runs, names["run"], "Run")


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
    find(server.experiments, recurring.experiment_id, "Experiment")
    file = file_of(server, "recurring run", recurring.pipeline_version_reference)
    cron = recurring.trigger.cron_schedule.cron
    if (fields := len(cron.split())) not in {5, 6}:
        raise ApiError(
            400,
            "Failed to create a recurring run due to conversion error: Invalid input error: Schedule cron is not a "
            "supported format(https://godoc.org/github.com/robfig/cron). Error: Expected 5 to 6 fields, found "
            f"{fields}: {cron}",
        )
    check_parameters(file, recurring, "Failed to create a new recurring run")
    recurring.recurring_run_id, recurring.created_at = str(uuid.uuid4()), now()
    recurring.status = "ENABLED" if recurring.mode == "ENABLE" else "DISABLED"
    server.scheduled_workflows.add(recurring.recurring_run_id)
    store_row("recurring run", recurring)
    return server.recurring_runs.setdefault(recurring.recurring_run_id, recurring)


@route("GET", "recurringruns/{recurring}")
def get_recurring_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    return find(server.recurring_runs, names["recurring"])


@route("DELETE", "recurringruns/{recurring}")
def delete_recurring_run(server: KfpServer, request: Request, names: dict[str, str]) -> Any:
    """Its ScheduledWorkflow goes, and what it owns: Workflows and pods, of which KFP hears nothing any more."""
    recurring = names["recurring"]
    find(server.recurring_runs, recurring)
    del server.recurring_runs[recurring]
    server.scheduled_workflows.discard(recurring)
    # A server that does not know the parameter ignores it.
    knows_policy = tuple(map(int, server.tag_name.split(".")[:2])) >= (2, 16)
    if not (knows_policy and request.query.get("propagation_policy") == "ORPHAN"):
        server.workflows = [one for one in server.workflows if one.recurring_run_id != recurring]
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
            code = GRPC_CODES.get(error.status, 2)
            details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": error.message}]
            return error.status, {"code": code, "details": details, "message": error.message}


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
