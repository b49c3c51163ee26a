"""Findings of a pod, as a step would have them: `python -m modelmill.runtime.inside STORE [BUCKET...]`.

Each is a JSON object on a line. `modelmill doctor --cluster --from-inside` runs it: a store that answers on a laptop
may be closed to pods.
"""

import json
import os
import socket
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from modelmill.core.errors import ModelmillError, one_line
from modelmill.runtime import tracking
from modelmill.runtime.bucket_probe import require_writable
from modelmill.store import open_store

_API_SERVER = "kubernetes.default.svc"
_SECONDS = 10.0


def checks_of(store: str, buckets: list[str]) -> dict[str, Callable[[], str]]:
    """Return the checks in order, by name; each returns what is well or raises a ModelmillError.

    Args:
        store: URI of the store.
        buckets: Names of buckets of the same object store that are written to.
    """
    return {
        "dns": _resolve,
        "store": lambda: _store(store),
        **{f"bucket {name}": lambda name=name: _bucket(name) for name in buckets},  # type: ignore[misc]
        "mlflow": lambda: f"{tracking.describe(open_store(store))} answers",
        "api server": _api_server,
    }


def _resolve() -> str:
    """Resolve the names that a step asks for."""
    addresses = (os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI"))
    region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
    store, mlflow = (urlsplit(address).hostname for address in addresses)
    names = [store or f"s3.{region}.amazonaws.com", *([mlflow] if mlflow else [])]
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        names.append(_API_SERVER)
    for name in names:
        try:
            socket.getaddrinfo(name, None)
        except OSError as error:
            hint = "a NetworkPolicy (k8s/base: dns) must let pods ask the cluster's DNS and its cache on the node"
            raise ModelmillError(f"{name} is not resolved ({one_line(error)}); {hint}") from None
    return f"{', '.join(names)} resolved"


def _store(uri: str) -> str:
    store = open_store(uri)
    store.check()
    return f"{store.uri}: written, read back, conditional writes hold"


def _bucket(name: str) -> str:
    require_writable(name)
    return "written"


def _api_server() -> str:
    """Ask the API server as the run's service account."""
    import urllib3
    from kubernetes import client, config

    # A kubeconfig only where one is named: in a pod there is none.
    file = os.environ.get("KUBECONFIG")
    settings = client.Configuration()
    settings.retries = False
    try:
        if file:
            config.load_kube_config(file, client_configuration=settings)
        else:
            config.load_incluster_config(client_configuration=settings)
        namespace = os.environ.get("MODELMILL_NAMESPACE", "default")
        api = client.CoreV1Api(client.ApiClient(settings))
        api.list_namespaced_pod(namespace, limit=1, _request_timeout=_SECONDS)
    except config.ConfigException as error:
        raise ModelmillError(f"no token of a service account ({one_line(error)})") from None
    except client.ApiException as error:
        hint = "apply k8s/base, whose Role allows what a run needs"
        raise ModelmillError(f"{settings.host}: pods may not be listed ({error.status}); {hint}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        hint = "its address must be in a NetworkPolicy (k8s/base: api-server)"
        raise ModelmillError(f"{settings.host} does not answer ({one_line(error)[:200]}); {hint}") from None
    return f"{settings.host} answers, and pods may be listed"


def main(store: str, buckets: list[str]) -> None:
    """Run every check and print its result; a check that fails does not stop the next.

    Args:
        store: URI of the store.
        buckets: Names of buckets that are written to.
    """
    for name, check in checks_of(store, buckets).items():
        try:
            ok, message = True, check()
        except ModelmillError as error:
            ok, message = False, one_line(error)
        print(json.dumps({"name": name, "ok": ok, "message": message}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
