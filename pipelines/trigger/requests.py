"""The body of a request, read only up to its greatest length, and mistakes in it as HTTP statuses."""

import json
from typing import Any, Literal, NamedTuple, TypeVar

import anyio
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from modelmill.core.errors import ModelmillError, one_line
from modelmill.pipelines.trigger.cool_down import CoolingDown
from modelmill.pipelines.trigger.signing import WINDOW_SECONDS, Unauthorized
from modelmill.store import StoreError

BODY_BYTES = 64 << 10
# SeaweedFS names every chunk of 4 MiB of an object, before and after a change: this is enough for objects of 40 GB.
EVENT_BYTES = 4 << 20
_READ_SECONDS = 10
Body = TypeVar("Body", bound=BaseModel)


class RefusedRequest(ModelmillError):
    """A request that gets no further."""

    def __init__(self, status: int, result: str, message: str) -> None:
        """Refuse a request.

        Args:
            status: HTTP status.
            result: Label of the metric.
            message: What the client is told.
        """
        super().__init__(message)
        self.status, self.result = status, result


class Trigger(BaseModel):
    """The body of POST /trigger/RECIPE."""

    model_config = ConfigDict(extra="forbid")
    recipe: str = Field(description="Name of the recipe, again: the signature covers the body, not the path.")
    reason: str = Field(min_length=1, max_length=1000, description="Why the run is asked for.")
    by: str = Field(min_length=1, max_length=200, description="Who asks for it.")
    kind: Literal["manual", "schedule", "drift"] = Field(
        default="manual", description="What asks: a person (`manual`), a `schedule` or a `drift` alarm."
    )
    force: bool = Field(
        default=False,
        description="Whether to start while the recipe cools down, or after a gate has refused the same run.",
    )
    id: str | None = Field(
        default=None,
        max_length=200,
        description="Anything that tells two requests apart that are otherwise the same in the same second.",
    )


class Answered(NamedTuple):
    """A response: the status, the metric's label, the JSON body, and further headers."""

    status: int
    result: str
    body: dict[str, Any]
    headers: dict[str, str] = {}


async def read_body(request: Request, most: int) -> bytes:
    """Return the whole body of a request.

    Args:
        request: Request whose body has not been read.
        most: Greatest length in bytes.

    Raises:
        RefusedRequest: It is too long (413), which is noticed before all of it is read, or comes too slowly (408).
    """
    too_large = RefusedRequest(413, "too_large", f"the body is larger than {most} bytes")
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > most:
        raise too_large
    body = bytearray()
    try:
        with anyio.fail_after(_READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        raise RefusedRequest(408, "too_slow", f"the body did not come within {_READ_SECONDS} s") from None
    return bytes(body)


def parse(body: bytes) -> Any:
    """Return the JSON of a body.

    Args:
        body: Bytes that were sent.

    Raises:
        RefusedRequest: It is not JSON (400).
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedRequest(400, "bad_request", "the body is not JSON") from None


def parse_as(model: type[Body], body: bytes) -> Body:
    """Return a body as a model.

    Args:
        model: What the body must be.
        body: Bytes that were sent.

    Raises:
        RefusedRequest: It is not (400); the first thing that is wrong is named.
    """
    try:
        return model.model_validate(parse(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RefusedRequest(400, "bad_request", f"{where}: {first['msg']}") from None


def parse_trigger(body: bytes, recipe: str) -> Trigger:
    """Return the body of a trigger.

    Args:
        body: Bytes that were sent.
        recipe: Name of the recipe in the request's path.

    Raises:
        RefusedRequest: It is not what a trigger must be, or is for another recipe (400).
    """
    asked = parse_as(Trigger, body)
    if asked.recipe != recipe:
        raise RefusedRequest(400, "bad_request", f"the path says recipe {recipe}, the signed body {asked.recipe}")
    return asked


def answer_to(error: ModelmillError) -> Answered:
    """Return the response to an error: the client's own are 4xx, the store's and the cluster's are 503, to try again.

    Args:
        error: What went wrong.
    """
    body = {"error": one_line(error)}
    if isinstance(error, RefusedRequest):
        close = {"Connection": "close"} if error.status in (408, 413) else {}
        return Answered(error.status, error.result, body, close)
    if isinstance(error, Unauthorized):
        return Answered(401, "unauthorized", body, {"WWW-Authenticate": f"HMAC-SHA256 window={WINDOW_SECONDS}"})
    if isinstance(error, CoolingDown):
        seconds = str(error.seconds)
        return Answered(429, "cool_down", {**body, "seconds_left": error.seconds}, {"Retry-After": seconds})
    if isinstance(error, StoreError):
        # The store's address is nobody's business who can reach only this server; the log has it.
        return Answered(503, "failed", {"error": "the object store does not answer or refuses; see the server's log"})
    return Answered(503, "failed", body)
