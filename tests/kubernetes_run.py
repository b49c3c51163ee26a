"""What a real API server answers of a run: pods, events, the Workflow, nodes and quotas, over HTTP on a loopback port.

Pods and messages are those that a real cluster gave (`recorded`), cut to what is read of them.
"""

import base64
import contextlib
import copy
import gzip
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests import kubeconfig

RECORDED = Path(__file__).parent / "recorded"
NAMESPACE, WORKFLOW = "mill", "tiny-table-x7k2p"
LONG_AGO = "2026-01-01T00:00:00Z"


class KubernetesRun:
    """The objects of a namespace, by kind, and the logs of its pods; kinds in `refused` are answered 403."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        self.objects: dict[str, list[dict[str, Any]]] = {
            kind: [] for kind in ("pods", "events", "workflows", "trainjobs", "nodes", "resourcequotas")
        }
        self.logs: dict[tuple[str, str], str] = {}
        self.refused: set[str] = set()
        self.asked: list[str] = []
        # Called before Workflows are listed.
        self.on_workflows: Callable[[], None] = lambda: None

    @property
    def kubeconfig(self) -> Path:
        """A file by which this server is reached."""
        return kubeconfig.write(self.folder / "kubeconfig-of-the-run", self.port, NAMESPACE)

    def add_recorded(self, name: str, run_id: str, step: str, **more: Any) -> dict[str, Any]:
        """Add a recorded pod as one of a run's step, with its events; `more` as `pod` takes it."""
        listed = json.loads((RECORDED / "pods_that_do_not_start.json").read_text())
        found = next(one for one in listed if one["pod"] == name)
        made = self.add(pod(run_id, step, found["status"], **more))
        for event in found["events"]:
            self.add_event(made["metadata"]["name"], **event)
        return made

    def add(self, made: dict[str, Any]) -> dict[str, Any]:
        """Add a pod."""
        self.objects["pods"].append(made)
        return made

    def add_event(self, about: str, **event: Any) -> None:
        """Add an event of a pod."""
        number = len(self.objects["events"])
        last = {"lastTimestamp": f"2026-01-01T00:00:{number:02}Z"}
        self.objects["events"].append(
            {"metadata": {}, "involvedObject": {"kind": "Pod", "name": about}, **last, **event}
        )

    def set_workflow(self, run_id: str, nodes: list[dict[str, Any]], compressed: bool = False, **status: Any) -> None:
        """Set the run's Workflow; above 1 MiB Argo keeps its nodes compressed."""
        by_id: Any = {node["id"]: node for node in nodes}
        if compressed:
            status["compressedNodes"] = base64.b64encode(gzip.compress(json.dumps(by_id).encode())).decode()
        else:
            status["nodes"] = by_id
        labels = {"pipeline/runid": run_id}
        self.objects["workflows"] = [{"metadata": {"name": WORKFLOW, "labels": labels}, "status": status}]

    def found(self, kind: str, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        """The objects that a query's selectors let through."""
        found = self.objects[kind]
        if selector := query.get("labelSelector", [""])[0]:
            label, _, values = selector.replace(" in (", "=").rstrip(")").partition("=")
            found = [one for one in found if (one["metadata"].get("labels") or {}).get(label) in values.split(",")]
        for selector in [one for one in query.get("fieldSelector", [""])[0].split(",") if one]:
            field, _, value = selector.partition("=")
            assert field in {"involvedObject.name", "reason"}, field
            name = field.rpartition(".")[2]
            found = [one for one in found if (one["involvedObject"] if "." in field else one).get(name) == value]
        return found


def pod(
    run_id: str, step: str, status: dict[str, Any], attempt: int = 0, profile: str = "", created: str = LONG_AGO
) -> dict[str, Any]:
    """A pod of a run's step, as KFP and Argo name and label it."""
    task = step.replace("_", "-")
    node = f"{WORKFLOW}-{zlib.crc32(f'{task}({attempt})'.encode())}"
    labels = {"pipeline/runid": run_id, "workflows.argoproj.io/workflow": WORKFLOW, "modelmill.dev/step": task}
    path = f"{WORKFLOW}(0).root(0).report(0).{task}(0).executor({attempt})"
    return {
        "metadata": {
            "name": f"{WORKFLOW}-system-container-impl-{node.rpartition('-')[2]}",
            "namespace": NAMESPACE,
            "labels": labels | ({"modelmill.dev/profile": profile} if profile else {}),
            "annotations": {"workflows.argoproj.io/node-id": node, "workflows.argoproj.io/node-name": path},
            "creationTimestamp": created,
        },
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "8", "memory": "32Gi"}}}]},
        "status": copy.deepcopy(status),
    }


def out_of_memory(run_id: str, step: str, **more: Any) -> dict[str, Any]:
    """The recorded pod of a step that was killed for its memory."""
    recorded = json.loads((RECORDED / "pod_out_of_memory.json").read_text())
    return pod(run_id, step, recorded["status"], **more)


def node(path: str, phase: str, message: str | None, made: str = LONG_AGO) -> dict[str, Any]:
    """A node of the Workflow that is a pod, there or not."""
    identity = f"{WORKFLOW}-{zlib.crc32(path.encode())}"
    full = f"{WORKFLOW}(0).root(0).report(0).{path}"
    return {"id": identity, "name": full, "type": "Pod", "phase": phase, "message": message, "startedAt": made}


class _Handler(BaseHTTPRequestHandler):
    run: KubernetesRun

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        parts, query = split.path.strip("/").split("/"), parse_qs(split.query)
        kind = "log" if parts[-1] == "log" else parts[-1]
        self.run.asked.append(kind)
        if kind == "workflows":
            self.run.on_workflows()
        if kind in self.run.refused:
            return self._send(403, {"kind": "Status", "code": 403, "message": f"{kind} is forbidden"})
        if kind == "log":
            return self._send(200, self.run.logs.get((parts[-2], query["container"][0]), ""))
        if kind not in self.run.objects or (kind != "nodes" and f"namespaces/{NAMESPACE}/" not in split.path):
            return self._send(404, {"kind": "Status", "code": 404, "message": "not found"})
        self._send(200, {"items": self.run.found(kind, query)})

    def _send(self, code: int, document: Any) -> None:
        data = (document if isinstance(document, str) else json.dumps(document)).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[KubernetesRun]:
    """Serve until the block ends."""
    run = KubernetesRun(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"run": run}))
    server.daemon_threads = True
    run.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield run
    finally:
        server.shutdown()
        server.server_close()
