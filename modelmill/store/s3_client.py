"""The boto3 client of the object store and of data in buckets: one set of timeouts, retries and checksums."""

import os
from functools import cache
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, HTTPClientError, IncompleteReadError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt
from urllib3.exceptions import HTTPError, ProtocolError

_CONCURRENCY = 8
_PART_BYTES = 32 << 20
_READ_TRIES = 4
# HTTP statuses from here on are errors.
_ERRORS = 300

_CONFIG = Config(
    # Stores other than AWS refuse the checksums that botocore would add on its own; readers check the sha256 anyway.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    # About 3 s in all (each pause twice the one before): outlasts a hiccup, and a wrong endpoint is told soon.
    retries={"mode": "standard", "total_max_attempts": 8},
    connect_timeout=5,
    read_timeout=60,
    max_pool_connections=2 * _CONCURRENCY,
)
TRANSFER = TransferConfig(
    multipart_threshold=_PART_BYTES,
    multipart_chunksize=_PART_BYTES,
    max_concurrency=_CONCURRENCY,
    # The CRT client ignores the endpoint and goes to AWS.
    preferred_transfer_client="classic",
)

# botocore retries a request, not the body of its answer.
read_again = Retrying(
    retry=retry_if_exception_type((HTTPClientError, IncompleteReadError, ProtocolError)),
    stop=stop_after_attempt(_READ_TRIES),
    reraise=True,
)


def connect(endpoint: str | None = None) -> Any:
    """Make a client from the environment, `~/.aws` or the machine's role.

    Args:
        endpoint: URL in place of the one that boto3 finds.

    Raises:
        ValueError: The endpoint is not a URL.
        botocore.exceptions.BotoCoreError: The profile or the region cannot be used.
    """
    client = boto3.session.Session().client("s3", config=_CONFIG, endpoint_url=endpoint)
    client._endpoint.http_session = _WholeErrors(client._endpoint.http_session)
    return client


class _WholeErrors:
    """botocore's session, with the bodies of error answers read where botocore still retries.

    Of a request whose answer is a stream, such as GetObject, it reads an error's body later, and lets urllib3's error
    through.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def send(self, request: Any) -> Any:
        """Send a request and return the answer, of an error with its body."""
        answer = self._session.send(request)
        if answer.status_code >= _ERRORS:
            try:
                _ = answer.content
            except (HTTPError, OSError) as error:
                raise ConnectionClosedError(error=error, request=request, endpoint_url=request.url) from error
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def shared() -> Any:
    """Return this process's client for the current `AWS_*` variables: making one takes longer than a small request.

    Raises:
        ValueError: As `connect`.
        botocore.exceptions.BotoCoreError: As `connect`.
    """
    return _connected(frozenset(item for item in os.environ.items() if item[0].startswith("AWS_")))


@cache
def _connected(environment: frozenset[tuple[str, str]]) -> Any:
    return connect()


# A forked process must not speak on its parent's connections.
os.register_at_fork(after_in_child=_connected.cache_clear)
