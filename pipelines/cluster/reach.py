"""The cluster's object store, seen from here, where that is possible."""

import os
import socket
from urllib.parse import urlsplit

from components.common.errors import ModelmillError, one_line
from components.common.store import Store
from pipelines.cluster.settings import Cluster

_SECONDS = 3.0


def store_of(cluster: Cluster) -> tuple[Store | None, str]:
    """The store and how it is reached, or None and why it is not.

    An endpoint in AWS_ENDPOINT_URL (a forwarded port, say) goes before the cluster file's, which is as steps see it.
    """
    from components.common.store.s3 import S3Store

    endpoint = os.environ.get("AWS_ENDPOINT_URL") or cluster.endpoint
    if endpoint and (refused := _refused(endpoint)):
        return None, refused
    try:
        store = S3Store(cluster.store, endpoint)
        next(iter(store.list("runs/")), None)
    except ModelmillError as error:
        return None, one_line(error)
    return store, f"{store.uri} at {endpoint}" if endpoint else store.uri


def _refused(endpoint: str) -> str:
    """Why nothing can be asked at an endpoint; at once, where boto3 would try for long."""
    parts = urlsplit(endpoint)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), _SECONDS).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        return f"{endpoint} is not reachable from here ({reason}); AWS_ENDPOINT_URL may name a forwarded port"
    return ""
