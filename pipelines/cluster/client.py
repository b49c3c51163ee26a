"""A quiet `kfp.Client` for a cluster, whose failures are one line."""

import contextlib
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.pipelines.cluster.settings import Cluster

LEAST = (2, 5)
TOKEN_VARIABLE = "MODELMILL_KFP_TOKEN"
TRIES, SECONDS = 4, 0.5
_TIMEOUT = (5, 30)
_MOST_CHARACTERS = 400


@contextlib.contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Yield a `kfp.Client` of the cluster, after a check of its version; what fails inside the block is one line too.

    Raises:
        UserError: What the user can mend: address, token, permission, version.
        ModelmillError: The server failed.
    """
    token = token_of(cluster)
    with explained(cluster, token):
        yield connect(cluster, token)


def connect(cluster: Cluster, token: str | None) -> Any:
    """Return a `kfp.Client` of the cluster, after a check of its version.

    Args:
        cluster: The cluster.
        token: Bearer token, if the server wants one.

    Raises:
        UserError: What answers is not KFP, or a version that is not supported.
    """
    version = ask_version(cluster, token)
    check_version(cluster, version)
    client = _client(cluster, token)
    client.server_version = _numbers(version)
    return client


def is_at_least(client: Any, major: int, minor: int) -> bool:
    """Return whether the server is known to be of a version or a later one; not where it does not say its version.

    Args:
        client: KFP's client, of `connected`.
        major: First number of the version.
        minor: Second number of the version.
    """
    return client.server_version is not None and client.server_version >= (major, minor)


def token_of(cluster: Cluster) -> str | None:
    """Return the bearer token: MODELMILL_KFP_TOKEN, else what `kfp.token_file` holds, else None.

    Raises:
        UserError: The file cannot be read or is empty.
    """
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    if cluster.kfp.token_file is None:
        return None
    try:
        token = Path(cluster.kfp.token_file).expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise UserError(f"kfp.token_file {cluster.kfp.token_file}: cannot be read ({reason})") from error
    if not token:
        raise UserError(f"kfp.token_file {cluster.kfp.token_file}: empty; it should hold a bearer token")
    return token


def ask_version(cluster: Cluster, token: str | None) -> str:
    """Return the version that the server names, such as `2.15.0`; `unknown` where its builder named none.

    Args:
        cluster: The cluster.
        token: Bearer token, if the server wants one.

    Raises:
        UserError: What answers is not KFP's v2 API.
    """
    import kfp_server_api as api

    configuration = api.Configuration(host=cluster.kfp.host.rstrip("/"))
    if token:
        configuration.api_key["authorization"] = token
        configuration.api_key_prefix["authorization"] = "Bearer"
    health = api.HealthzServiceApi(api.ApiClient(configuration))
    try:
        # Not as a model: the model leaves the version out.
        answer = retried(lambda: health.healthz_service_get_healthz(_preload_content=False, _request_timeout=_TIMEOUT))
        document = json.loads(answer.data)
    except api.ApiException as error:
        if error.status != 404:
            raise
        document = None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UserError(
            f"kfp.host {cluster.kfp.host}: something answers, but not as KFP's v2beta1 API; KFP {_least()} or later is "
            f"needed, its API's own address (not the UI's), and its token in {TOKEN_VARIABLE} if it asks for one"
        )
    return str(document.get("tag_name") or "unknown")


def retried(call: Callable[[], Any]) -> Any:
    """Return what a reading call returns; try it again while the server is overloaded or away for a moment."""
    return _retrying(is_passing)(call)


def found_or_made(find: Callable[[], Any], make: Callable[[], Any]) -> Any:
    """Return what `find` finds, else what `make` makes, even if another was faster or an answer was lost on the way.

    Whatever a call that failed was to make is looked for before it is tried again, and once more after the last try.

    Args:
        find: Returns what is there, None if it is not.
        make: Makes it and returns it.
    """

    def find_or_make() -> Any:
        there = find()
        return make() if there is None else there

    def may_pass(error: BaseException) -> bool:
        return (is_passing(error) or getattr(error, "status", None) == 409) and not _runs_unlisted(error)

    try:
        return _retrying(may_pass)(find_or_make)
    except Exception as error:
        there = find() if may_pass(error) else None
        if there is None:
            raise
        return there


def _runs_unlisted(error: BaseException) -> bool:
    """Return whether KFP has started a run that it could not store: each further try would start one more."""
    return "Failed to store run" in str(getattr(error, "body", None) or "")


def _retrying(may_pass: Callable[[BaseException], bool]) -> Retrying:
    return Retrying(
        retry=retry_if_exception(may_pass),
        wait=wait_exponential(multiplier=SECONDS),
        stop=stop_after_attempt(TRIES),
        reraise=True,
    )


def pages(call: Callable[..., Any], kind: str, **query: Any) -> Iterator[Any]:
    """Yield every item of a listing, page by page.

    Args:
        call: Method of KFP's client that returns a page.
        kind: Name of the items in the answer.
        query: Further arguments of the call.
    """
    token = ""
    while True:
        answer = retried(lambda token=token: call(page_token=token, page_size=100, **query))  # type: ignore[misc]
        yield from getattr(answer, kind) or []
        token = answer.next_page_token or ""
        if not token:
            return


def named(call: Callable[..., Any], kind: str, name: str, **query: Any) -> Any:
    """Return the item of a listing with a display name, None if there is none.

    Args:
        call: Method of KFP's client that returns a page.
        kind: Name of the items in the answer.
        name: Display name.
        query: Further arguments of the call.
    """
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    return next(pages(call, kind, filter=json.dumps({"predicates": [predicate]}), **query), None)


def is_passing(error: BaseException) -> bool:
    """Return whether the same call may succeed in a moment."""
    import urllib3

    status = getattr(error, "status", None)
    return isinstance(error, urllib3.exceptions.HTTPError) or status == 429 or (status or 0) >= 500


def is_refusal(error: BaseException) -> bool:
    """Return whether KFP itself has refused a call, which the same call again would not change."""
    status = getattr(error, "status", None)
    # A proxy answers 404 as well, while there is nothing behind it, but not in KFP's words.
    return status in {401, 403} or (status == 404 and '"code"' in str(getattr(error, "body", None) or ""))


@contextlib.contextmanager
def explained(cluster: Cluster, token: str | None = None) -> Iterator[None]:
    """Turn what KFP's client and urllib3 raise into one line that never holds the token; urllib3 logs no retries.

    Args:
        cluster: The cluster, which the line names.
        token: The bearer token, to be left out.
    """
    import kfp_server_api as api
    import urllib3

    logger = logging.getLogger("urllib3.connectionpool")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except api.ApiException as error:
        raise _answered(cluster, error, token) from None
    except urllib3.exceptions.HTTPError as error:
        # Without the connection, which urllib3 names first.
        said = re.sub(r"^<?[\w.]*Connection.*?: ", "", one_line(getattr(error, "reason", None) or error))
        raise UserError(
            f"kfp.host {cluster.kfp.host}: does not answer ({said}); is it the address of KFP's API, seen from here?"
        ) from None
    finally:
        logger.setLevel(before)


def line_of(cluster: Cluster, error: Exception, token: str | None) -> str:
    """Return an error as the one line that `explained` makes of it.

    Args:
        cluster: The cluster.
        error: What KFP's client has raised.
        token: The bearer token, to be left out.
    """
    try:
        with explained(cluster, token):
            raise error
    except ModelmillError as explanation:
        return one_line(explanation)


def _answered(cluster: Cluster, error: Any, token: str | None) -> ModelmillError:
    """Return the error for an answer that is not 2xx."""
    said = _message(error)
    if token:
        said = said.replace(token, "***")
    host, where = f"kfp.host {cluster.kfp.host}", f"namespace {cluster.kfp.namespace}"
    if error.status == 401:
        have = "the token has expired or is not valid" if token else "it wants a token"
        return UserError(f"{host}: {have} (401); set {TOKEN_VARIABLE} or kfp.token_file to a new one")
    if error.status == 403:
        return UserError(f"{host}: this is not allowed in {where} (403: {said}); ask for the role, or a new token")
    if error.status in {400, 404, 409}:
        return UserError(f"{host}: refused ({error.status}: {said})")
    if _runs_unlisted(error):
        return ModelmillError(
            f"{host}: has started a run that it could not store ({error.status}: {said}); no list has it, but it goes "
            f"on: kubectl -n {cluster.kfp.namespace} get workflows shows it, kubectl delete workflow ends it"
        )
    if not error.status:
        return UserError(f"{host}: no safe connection ({one_line(Exception(error.reason))})")
    return ModelmillError(f"{host}: answered {error.status}: {said}; the same command again goes on")


def _message(error: Any) -> str:
    """Return the server's message, out of the document that holds it."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    # What stands before KFP, an ingress or a login, answers with a page.
    body = re.sub(r"(?is)<(style|script).*?</\1>|<[^>]*>", " ", body) if body.lstrip().startswith("<") else body
    with contextlib.suppress(ValueError, AttributeError):
        document = json.loads(body)
        body = next(str(document[key]) for key in ("message", "error_message", "error") if document.get(key))
    return one_line(Exception(body or str(error.reason)))[:_MOST_CHARACTERS]


def check_version(cluster: Cluster, version: str) -> None:
    """Refuse a version of KFP that is known not to be supported.

    Args:
        cluster: The cluster.
        version: The server's version, as `ask_version` returns it.

    Raises:
        UserError: The version is not supported.
    """
    numbers = _numbers(version)
    if numbers is not None and not LEAST <= numbers < (LEAST[0] + 1, 0):
        raise UserError(
            f"kfp.host {cluster.kfp.host}: is KFP {version}; Modelmill works with {_least()} or later of "
            f"{LEAST[0]}.x; upgrade the server"
        )


def _numbers(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version, None where it has none."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def _least() -> str:
    return ".".join(map(str, LEAST))


def _client(cluster: Cluster, token: str | None) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kfp

        return kfp.Client(
            host=cluster.kfp.host, namespace=cluster.kfp.namespace, existing_token=token, ui_host=cluster.kfp.ui
        )
