"""The buckets that a cluster's parts write to; a store may have room for one of them and none for the next."""

import re
from urllib.parse import urlsplit

import yaml

from modelmill.core.errors import ModelmillError, UserError, one_line
from modelmill.pipelines.cluster import reach
from modelmill.pipelines.cluster.api_server import ApiServer
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.runtime.bucket_probe import require_writable
from modelmill.store.s3_errors import is_denied


def of(cluster: Cluster, api: ApiServer | None) -> list[str]:
    """Return the names of the buckets: the store's, and those that the ConfigMaps of the namespace name.

    Args:
        cluster: The cluster.
        api: Its API server; None if it cannot be asked.
    """
    own = urlsplit(cluster.store).netloc
    if api is None:
        return [own]
    named = [
        _of_uri(_value(api, cluster, "kfp-launcher", "defaultPipelineRoot")),
        _of_uri(_value(api, cluster, "modelmill-mlflow", "MLFLOW_DEFAULT_ARTIFACT_ROOT")),
        _value(api, cluster, "modelmill-backup", "BUCKET"),
        _of_argo(_value(api, cluster, "workflow-controller-configmap", "artifactRepository")),
    ]
    return list(dict.fromkeys([own, *(name for name in named if name)]))


def check(cluster: Cluster, api: ApiServer | None) -> str:
    """Write to every bucket that is known, and return which those are.

    Args:
        cluster: The cluster.
        api: Its API server; None if it cannot be asked.

    Raises:
        UserError: One cannot be written; the message says which, and why.
    """
    if why := reach.refused(cluster):
        return f"not checked: {why}"
    written: list[str] = []
    closed: list[str] = []
    failed: list[str] = []
    for name in of(cluster, api):
        try:
            require_writable(name, reach.endpoint_of(cluster))
            written.append(name)
        except ModelmillError as error:
            # Another part's bucket may be closed to whoever asks here.
            is_closed = name != urlsplit(cluster.store).netloc and is_denied(error.__cause__ or error)
            (closed if is_closed else failed).append(name if is_closed else f"{name}: {one_line(error)}")
    if failed:
        raise UserError(
            f"{'; '.join(failed)}; SeaweedFS has no volume left for a bucket where -volume.max is low "
            "(k8s/kfp raises it), and a bucket of KFP or Argo that takes nothing makes the first driver hang"
        )
    said = f"written: {', '.join(written)}" + (f"; not open to you: {', '.join(closed)}" if closed else "")
    return said if api is not None else f"{said}; those of KFP, Argo and MLflow are known where Kubernetes can be asked"


def _value(api: ApiServer, cluster: Cluster, config_map: str, key: str) -> str:
    """Return a ConfigMap's value, '' where it is not there."""
    found = api.get(f"/api/v1/namespaces/{cluster.kfp.namespace}/configmaps/{config_map}")
    return str(((found or {}).get("data") or {}).get(key, ""))


def _of_uri(uri: str) -> str:
    found = re.match(r"(?:s3|minio)://([^/?]+)", uri)
    return found[1] if found else ""


def _of_argo(repository: str) -> str:
    try:
        return str(yaml.safe_load(repository)["s3"]["bucket"])
    except (yaml.YAMLError, KeyError, TypeError):
        return ""
