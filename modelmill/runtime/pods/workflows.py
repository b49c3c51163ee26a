"""The nodes of a run's Workflow, which remember pods that are gone, and say why one was never made."""

import base64
import gzip
import json
from typing import Any

from modelmill.runtime.pods import explaining

_NODE_ID = "workflows.argoproj.io/node-id"


def pods_of(workflow: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the nodes that are pods, oldest first; Argo compresses the nodes when they pass 1 MiB.

    Args:
        workflow: The Workflow, if it can be read.
    """
    status = (workflow or {}).get("status") or {}
    nodes = status.get("nodes") or _unpacked(status.get("compressedNodes"))
    pods = [node for node in nodes.values() if node.get("type") == "Pod"]
    return sorted(pods, key=lambda node: (str(node.get("startedAt")), str(node.get("name"))))


def node_of(pod: dict[str, Any]) -> str:
    """Return the id of the node that a pod is of; its own name where it is not of a Workflow.

    Args:
        pod: The pod.
    """
    return str((pod["metadata"].get("annotations") or {}).get(_NODE_ID) or pod["metadata"]["name"])


def path_of(pod: dict[str, Any]) -> str:
    """Return the path of the node that a pod is of; its own name where it is not of a Workflow.

    Args:
        pod: The pod.
    """
    return str((pod["metadata"].get("annotations") or {}).get(explaining.NODE_NAME) or pod["metadata"]["name"])


def failure_of(workflow: dict[str, Any] | None) -> str | None:
    """Return the message with which a Workflow has failed where it is a reason of its own.

    Args:
        workflow: The Workflow, if it can be read.
    """
    status = (workflow or {}).get("status") or {}
    reason = explaining.of_message(str(status.get("message") or ""))
    return reason.text if reason else None


def _unpacked(packed: str | None) -> dict[str, Any]:
    try:
        nodes = json.loads(gzip.decompress(base64.b64decode(packed))) if packed else {}
    except (ValueError, OSError, EOFError):
        return {}
    return nodes if isinstance(nodes, dict) else {}
