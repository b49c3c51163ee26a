"""The cluster's object store, seen from here, where that is possible."""

import os
import socket
from urllib.parse import urlsplit

from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.store import Store

_SECONDS = 3.0


def require_seen_by_steps(cluster: Cluster) -> None:
    """Refuse addresses that a step cannot reach: that of the machine that asks is, in a step, the step's own pod.

    Raises:
        UserError: An address in the cluster's file is this machine's.
    """
    for key, uri in (("endpoint", cluster.endpoint), ("mlflow", cluster.mlflow)):
        host = urlsplit(uri or "").hostname or ""
        if host == "localhost" or host == "::1" or host.startswith("127."):
            raise UserError(
                f"{key}: {uri} is this machine, which no step reaches; write the address inside the cluster, such as "
                "http://SERVICE.NAMESPACE:PORT (for a forwarded port there is AWS_ENDPOINT_URL)"
            )


def store_of(cluster: Cluster) -> tuple[Store | None, str]:
    """Return the store and how it is reached, or None and why it is not.

    An endpoint in AWS_ENDPOINT_URL (a forwarded port, say) goes before the cluster file's, which is as steps see it.
    """
    from modelmill.store.s3 import S3Store

    if why := refused(cluster):
        return None, why
    endpoint = endpoint_of(cluster)
    try:
        store = S3Store(cluster.store, endpoint)
        next(iter(store.list("runs/")), None)
    except ModelmillError as error:
        return None, one_line(error)
    return store, f"{store.uri} at {endpoint}" if endpoint else store.uri


def require(cluster: Cluster) -> Store:
    """Return the store, into which a recipe is written before a run of it can begin.

    Raises:
        UserError: It cannot be reached from here.
    """
    store, why = store_of(cluster)
    if store is None:
        raise UserError(f"store {cluster.store}: a run's recipe is written there first, and cannot be from here: {why}")
    return store


def endpoint_of(cluster: Cluster) -> str | None:
    """Return the address of the store as it is seen from here; None for AWS."""
    return os.environ.get("AWS_ENDPOINT_URL") or cluster.endpoint


def adopt(cluster: Cluster) -> None:
    """Take the cluster's addresses for those of this process, where its environment names none."""
    for name, value in (
        ("AWS_ENDPOINT_URL", cluster.endpoint),
        ("AWS_DEFAULT_REGION", cluster.region),
        ("MLFLOW_TRACKING_URI", cluster.mlflow),
    ):
        if value:
            os.environ.setdefault(name, value)


def refused(cluster: Cluster) -> str:
    """Return why nothing can be asked at the store's endpoint, if so; at once, where boto3 would try for long."""
    endpoint = endpoint_of(cluster)
    if endpoint is None or not (reason := _refused(endpoint)):
        return ""
    advice = "forward a port to it (kubectl port-forward) and set AWS_ENDPOINT_URL"
    return f"{endpoint} is not reachable from here ({reason}); {advice}"


def registry_refuses(cluster: Cluster) -> bool:
    """Return whether nothing answers from here where the environment, or else the cluster's file, has MLflow."""
    return bool(_refused(os.environ.get("MLFLOW_TRACKING_URI") or cluster.mlflow))


def _refused(address: str) -> str:
    """Return why no connection to an address can be made, empty if it can."""
    parts = urlsplit(address)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), _SECONDS).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or one_line(error)
    return ""
