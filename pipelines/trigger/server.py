"""The trigger service: signed requests, events of the object store, and a reconciler for the events that are lost."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.pipelines.trigger import cancels, events, metrics, signing
from modelmill.pipelines.trigger.asking import Answer, Starter
from modelmill.pipelines.trigger.claims import Asker
from modelmill.pipelines.trigger.cool_down import CoolingDown
from modelmill.pipelines.trigger.reconciler import Reconciler, look_at_all
from modelmill.pipelines.trigger.requests import (
    BODY_BYTES,
    EVENT_BYTES,
    Answered,
    RefusedRequest,
    answer_to,
    parse,
    parse_trigger,
    read_body,
)
from modelmill.pipelines.trigger.signing import Secrets
from modelmill.recipe import Recipe

# Requests that are worked on at once, each in a thread; others wait.
_AT_ONCE = 8
_log = logging.getLogger("modelmill.trigger")


@dataclass
class Service:
    """State that the handlers share.

    Attributes:
        recipes: The recipes that may be asked for, by name.
        starter: Starts runs.
        secrets: What requests are checked with.
        poll_seconds: Time between two looks of the reconciler; 0 for none.
        metrics: What Prometheus is told.
        told: The reconciler's problems that are in the log, each once for as long as it lasts.
    """

    recipes: dict[str, Recipe]
    starter: Starter
    secrets: Secrets
    poll_seconds: float
    metrics: metrics.Metrics
    told: set[str] = field(default_factory=set)

    def trigger(self, name: str, body: bytes, request_name: str) -> Answered:
        """Do the work of POST /trigger/RECIPE, after the signature is checked.

        Args:
            name: The recipe's.
            body: The request's.
            request_name: The name by which the request is known.
        """
        asked = parse_trigger(body, name)
        if name not in self.recipes:
            raise RefusedRequest(404, "unknown_recipe", f"{name}: no such recipe here")
        signing.require_first(self.starter.store, request_name)
        asker = Asker(by=one_line(Exception(asked.by)), kind=asked.kind, reason=one_line(Exception(asked.reason)))
        answer = self._ask(name, asker, asked.force)
        return Answered(202 if answer.result == "started" else 200, answer.result, _shown(answer))

    def events(self, body: bytes, request_name: str | None) -> Answered:
        """Do the work of POST /events. A recipe that cools down is no error: the reconciler asks again after it.

        Args:
            body: The request's.
            request_name: The name by which a signed request is known.
        """
        try:
            changed = events.uris(parse(body))
        except UserError as error:
            raise RefusedRequest(400, "bad_request", str(error)) from None
        if request_name is not None:
            signing.require_first(self.starter.store, request_name)
        answers: dict[str, Any] = {}
        problems: list[ModelmillError] = []
        for name, of_it in events.affected(self.recipes.values(), changed).items():
            try:
                answers[name] = _shown(self._ask(name, Asker(by="events", kind="event", reason=events.reason(of_it))))
            except CoolingDown as error:
                answers[name] = {"result": "cool_down", "seconds_left": error.seconds}
            except ModelmillError as error:
                problems.append(error)
        # Only now: what is wrong with one recipe keeps no other from its event.
        if problems:
            raise problems[0]
        return Answered(200, "taken", {"recipes": answers})

    def reconcile(self, reconciler: Reconciler) -> None:
        """Look at every recipe once."""
        answers, problems = look_at_all(reconciler, list(self.recipes.values()))
        for answer in answers:
            self.metrics.asked("poll", answer.result)
            _log.info("poll: %s run %s", answer.result, answer.run_id)
        found = {one_line(problem) for problem in problems}
        for line in sorted(found - self.told):
            _log.warning("reconciler: %s", line)
        for line in sorted(self.told - found):
            _log.info("reconciler: no longer: %s", line)
        self.told = found
        self.metrics.reconciled(len(problems))

    def _ask(self, name: str, asker: Asker, force: bool = False) -> Answer:
        result = "failed"
        try:
            answer = self.starter.ask(self.recipes[name], asker, force)
            result = answer.result
        except CoolingDown:
            result = "cool_down"
            raise
        finally:
            self.metrics.asked(asker.kind, result)
        run = f"run {answer.run_id}" if answer.run_id else "a run that is being submitted"
        _log.info("%s: %s %s for %s (%s: %s)", name, result, run, asker.by, asker.kind, asker.reason)
        return answer


def application(recipes: list[Recipe], starter: Starter, secrets: Secrets, poll_seconds: float) -> Starlette:
    """Return the service as an ASGI application.

    Args:
        recipes: The recipes that may be asked for.
        starter: Starts runs.
        secrets: What requests are checked with.
        poll_seconds: Time between two looks at the data; 0 for none.
    """
    by_name = {recipe.name: recipe for recipe in recipes}
    service = Service(by_name, starter, secrets, poll_seconds, metrics.Metrics())
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def trigger(request: Request) -> Answered:
        body = await read_body(request, BODY_BYTES)
        name = signing.verify(secrets.requests, request.headers, body)
        return await anyio.to_thread.run_sync(
            service.trigger, request.path_params["recipe"], body, name, limiter=limiter
        )

    async def event(request: Request) -> Answered:
        is_bearer = signing.has_bearer(secrets.events, request.headers)
        body = await read_body(request, EVENT_BYTES if is_bearer else BODY_BYTES)
        name = None if is_bearer else signing.verify(secrets.requests, request.headers, body)
        return await anyio.to_thread.run_sync(service.events, body, name, limiter=limiter)

    async def cancel(request: Request) -> Answered:
        body = await read_body(request, BODY_BYTES)
        name = signing.verify(secrets.requests, request.headers, body)
        return await anyio.to_thread.run_sync(
            cancels.cancel, starter, request.path_params["run"], body, name, limiter=limiter
        )

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics_page(request: Request) -> Response:
        return Response(service.metrics.page(), media_type=metrics.CONTENT_TYPE)

    routes = [
        Route("/trigger/{recipe}", _answering("trigger", service, trigger), methods=["POST"]),
        Route("/cancel/{run}", _answering("cancel", service, cancel), methods=["POST"]),
        Route("/events", _answering("events", service, event), methods=["POST"]),
        Route("/healthz", healthz),
        Route("/metrics", metrics_page),
    ]
    return Starlette(routes=routes, lifespan=_reconciling(service))


Handler = Callable[[Request], Awaitable[Answered]]


def _answering(endpoint: str, service: Service, handle: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Return a route that counts the result and turns errors into answers."""

    async def answer(request: Request) -> Response:
        try:
            answered = await handle(request)
        except ModelmillError as error:
            answered = answer_to(error)
            if answered.status >= 500:
                _log.error("%s: %s", endpoint, one_line(error))
            else:
                _log.warning("%s: %d to %s: %s", endpoint, answered.status, _client(request), one_line(error))
        except Exception:
            service.metrics.request(endpoint, "failed")
            raise
        service.metrics.request(endpoint, answered.result)
        return JSONResponse(answered.body, answered.status, answered.headers)

    return answer


def _reconciling(service: Service) -> Callable[[Starlette], Any]:
    """Return what looks at the data in the background for as long as the application lives."""

    async def forever() -> None:
        reconciler = Reconciler(service.starter)
        while True:
            try:
                await anyio.to_thread.run_sync(service.reconcile, reconciler)
                await anyio.to_thread.run_sync(signing.forget_old, service.starter.store)
            except Exception:
                _log.exception("reconciler")
            await anyio.sleep(service.poll_seconds)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            if service.poll_seconds:
                group.start_soon(forever)
            yield
            group.cancel_scope.cancel()

    return lifespan


def _client(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _shown(answer: Answer) -> dict[str, Any]:
    return {"result": answer.result, "run_id": answer.run_id, "key": answer.key}
