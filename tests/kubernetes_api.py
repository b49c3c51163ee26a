"""The part of the Kubernetes API that a TrainJob needs, over HTTP on a loopback port; it may really start the nodes.

It answers as the real one does to create (409 for a name that is taken), get, list, delete, pods and their logs. A
node is torchrun in a process of this machine, with the variables that Kubeflow Trainer gives it.
"""

import contextlib
import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests import kubeconfig
from tests.kubernetes_pods import RunPod
from tests.zygote import Popen

NAMESPACE = "training"
GROUP = "trainer.kubeflow.org/v1alpha1"
CREATED = "2026-01-01T00:00:00Z"
ROOT = Path(__file__).parents[1]


class Container:
    """One start of a node's container: its process and what it writes."""

    def __init__(self, log: Path, command: list[str], env: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = Popen(
                [sys.executable, "-m", "torch.distributed.run", *command[1:]] if command[0] == "torchrun" else command,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
            )

    def end(self, grace: float) -> None:
        """As a kubelet does it: SIGTERM, and SIGKILL after the grace period."""
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self.process.terminate()
            self.process.wait(grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Node:
    """A pod of a TrainJob, whose container is restarted in place, under the same name, up to `restarts` times."""

    def __init__(
        self, job: str, index: int, log: Path, command: list[str], env: dict[str, str], restarts: int = 0
    ) -> None:
        self.name, self.index, self._log, self._command, self._env = (
            f"{job}-node-0-{index}-abcde",
            index,
            log,
            command,
            env,
        )
        self._restarts, self._is_ending = restarts, False
        self._lock = threading.RLock()
        self.containers = [Container(log, command, env)]

    @property
    def process(self) -> Any:
        return self.containers[-1].process

    @property
    def phase(self) -> str:
        with self._lock:
            code = self.process.poll()
            if code and not self._is_ending and len(self.containers) <= self._restarts:
                log = self._log.with_suffix(f".{len(self.containers)}.log")
                self.containers.append(Container(log, self._command, self._env))
                code = None
        return "Running" if code is None else "Failed" if code else "Succeeded"

    def end(self, grace: float = 10) -> None:
        with self._lock:
            self._is_ending = True
        self.containers[-1].end(grace)


class KubernetesApi:
    """`jobs` are the TrainJobs there are, as they were created; `created` and `deleted` name those there ever were.

    environment: of the nodes, as the runtime's Secrets give it. replace: what the nodes run in place of torchrun.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.replace: list[list[str]] = []
        self.runtimes = {"modelmill-torch"}
        self.refuse: dict[tuple[str, str], int] = {}
        # Each makes, of a TrainJob that is to be created, the one that somebody else creates a moment earlier.
        self.rivals: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        # How many streams of logs break after their first lines.
        self.broken_streams = 0
        # How often JobSet restarts a node that failed, in place; none where a test wants a TrainJob that fails.
        self.restarts = 0
        # What nodes have from SIGTERM to SIGKILL.
        self.grace = 10.0
        # Owners of pods that are no nodes, by the pods' names.
        self.owners: dict[str, list[dict[str, Any]]] = {}
        # Nodes whose TrainJob was deleted in the background, and which have not ended yet.
        self.left: dict[str, list[Node]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.nodes: dict[str, list[Node]] = {}
        self.created: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        # Other objects, by the path of the API that they are at; and pods that were created, by name (see RunPod).
        self.objects: dict[str, dict[str, Any]] = {}
        self.addresses: dict[str, str] = {}
        self.waits: dict[str, Any] = {}
        self.run_pods: dict[str, RunPod] = {}
        self.run_pods_created: list[RunPod] = []
        self.lock = threading.RLock()
        self.port = 0

    @property
    def kubeconfig(self) -> Path:
        return kubeconfig.write(self.folder / "kubeconfig", self.port, NAMESPACE)

    def create(self, job: dict[str, Any]) -> None:
        """Accept a TrainJob and start its nodes."""
        name = job["metadata"]["name"]
        job["metadata"] |= {"namespace": NAMESPACE, "creationTimestamp": CREATED, "uid": name}
        self.jobs[name] = job
        self.created.append(job)
        trainer = job["spec"]["trainer"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = self.replace.pop(0) if self.replace else trainer["command"]
        given = {variable["name"]: variable["value"] for variable in trainer.get("env", [])}
        self.nodes[name] = []
        for index in range(trainer["numNodes"]):
            pet = {
                "PET_NNODES": str(trainer["numNodes"]),
                "PET_NPROC_PER_NODE": "auto",
                "PET_NODE_RANK": str(index),
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": str(port),
            }
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            base = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(self.folder), "OMP_NUM_THREADS": "1"}
            log = self.folder / f"{name}.{len(self.created)}.{index}.log"
            env = base | self.environment | given | pet
            self.nodes[name].append(Node(name, index, log, command, env, self.restarts))

    def delete(self, name: str, policy: str) -> None:
        """Accept a deletion: in the foreground a TrainJob is there until its nodes have ended, else it goes at once."""
        metadata = self.jobs[name]["metadata"]
        if metadata.get("deletionTimestamp"):
            return
        self.deleted.append(name)
        if policy == "Foreground":
            metadata |= {"deletionTimestamp": CREATED, "finalizers": ["foregroundDeletion"]}
        else:
            self.left[name] = self.nodes.pop(name)
            del self.jobs[name]
        threading.Thread(target=self._end_nodes, args=(name, policy), daemon=True).start()

    def _end_nodes(self, name: str, policy: str) -> None:
        nodes = self.nodes[name] if policy == "Foreground" else self.left[name]
        ending = [threading.Thread(target=node.end, args=(self.grace,)) for node in nodes]
        for one in ending:
            one.start()
        for one in ending:
            one.join()
        with self.lock:
            if policy == "Foreground":
                del self.nodes[name], self.jobs[name]
            else:
                del self.left[name]

    def is_empty(self, seconds: float = 20) -> bool:
        """Whether no TrainJob and no node is left, now or soon: deletion takes its time."""
        deadline = time.monotonic() + seconds
        while self.jobs or self.left:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def seen(self, name: str) -> dict[str, Any]:
        """The TrainJob with its status, as the controller would set it."""
        phases = {node.phase for node in self.nodes[name]}
        kind = "Failed" if "Failed" in phases else "Complete" if phases == {"Succeeded"} else ""
        condition = {"type": kind, "status": "True", "reason": kind, "message": kind, "lastTransitionTime": CREATED}
        return self.jobs[name] | {"status": {"conditions": [condition]} if kind else {}}

    def pods(self, name: str) -> list[dict[str, Any]]:
        return [self._pod(name, node) for node in [*self.nodes.get(name, []), *self.left.get(name, [])]]

    def pod(self, name: str) -> dict[str, Any] | None:
        """A node by the name of its pod, or another pod whose owners are known."""
        if name in self.owners:
            metadata = {"name": name, "namespace": NAMESPACE, "ownerReferences": self.owners[name]}
            return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}, "status": {}}
        jobs = {**self.nodes, **self.left}
        return next((self._pod(job, node) for job, nodes in jobs.items() for node in nodes if node.name == name), None)

    def listed(self, selector: str) -> list[dict[str, Any]]:
        """The TrainJobs with a label `key=value`."""
        key, _, value = selector.partition("=")
        return [job for job in self.jobs.values() if (job["metadata"].get("labels") or {}).get(key) == value]

    @staticmethod
    def _pod(name: str, node: Node) -> dict[str, Any]:
        labels = {
            "jobset.sigs.k8s.io/jobset-name": name,
            "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "batch.kubernetes.io/job-completion-index": str(node.index),
        }
        metadata = {"name": node.name, "namespace": NAMESPACE, "labels": labels, "creationTimestamp": CREATED}
        spec = {"containers": [{"name": "node", "image": "i"}]}
        phase, restarts = node.phase, len(node.containers) - 1
        container = {"name": "node", "image": "i", "imageID": "", "ready": phase == "Running", "restartCount": restarts}
        status = {"phase": phase, "containerStatuses": [container]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}

    def runtime(self, name: str) -> dict[str, Any]:
        container = {"name": "node", "image": "modelmill/pretraining:0.1.0"}
        template = {
            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
        return {
            "apiVersion": GROUP,
            "kind": "TrainingRuntime",
            "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": "torch"}},
            "spec": {
                "mlPolicy": {"numNodes": 1, "torch": {}},
                "template": {"spec": {"replicatedJobs": [{"name": "node", "template": template}]}},
            },
        }


class _Handler(BaseHTTPRequestHandler):
    api: KubernetesApi

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, verb: str) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        query = dict(parse_qsl(urlsplit(self.path).query))
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        for (refused, where), code in self.api.refuse.items():
            if refused == verb and where in parts:
                return self._send(code)
        match parts:
            case ["apis", "trainer.kubeflow.org", "v1alpha1", "namespaces", _, "trainingruntimes", name] if (
                name in self.api.runtimes
            ):
                self._send(200, self.api.runtime(name))
            case ["apis", "trainer.kubeflow.org", "v1alpha1", "namespaces", _, "trainjobs"] if verb == "POST":
                self._create(body)
            case ["apis", "trainer.kubeflow.org", "v1alpha1", "namespaces", _, "trainjobs"]:
                with self.api.lock:
                    items = self.api.listed(query.get("labelSelector", ""))
                self._send(200, {"apiVersion": GROUP, "kind": "TrainJobList", "metadata": {}, "items": items})
            case ["apis", "trainer.kubeflow.org", "v1alpha1", "namespaces", _, "trainjobs", name]:
                self._one(verb, name, query.get("propagationPolicy") or body.get("propagationPolicy") or "Background")
            case ["api", "v1", "namespaces", _, "pods"] if verb == "POST":
                self._create_pod(body)
            case ["api", "v1", "namespaces", _, "pods", name, *log] if name in self.api.run_pods:
                self._run_pod(verb, name, bool(log))
            case ["api", "v1", "namespaces", _, "pods"]:
                job = re.search(r"jobset-name(?:=|%3D)([a-z0-9-]+)", self.path)
                with self.api.lock:
                    items = self.api.pods(job[1]) if job else []
                self._send(200, {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})
            case ["api", "v1", "namespaces", _, "pods", pod]:
                with self.api.lock:
                    found = self.api.pod(pod)
                self._send(200 if found else 404, found)
            case ["api", "v1", "namespaces", _, "pods", pod, "log"]:
                self._log(pod, query)
            case _:
                path = urlsplit(self.path).path
                self._send(200 if path in self.api.objects else 404, self.api.objects.get(path))

    def _create(self, job: dict[str, Any]) -> None:
        with self.api.lock:
            if self.api.rivals:
                self.api.create(self.api.rivals.pop(0)(copy.deepcopy(job)))
            if job["metadata"]["name"] in self.api.jobs:
                return self._send(409)
            self.api.create(job)
        self._send(201, job)

    def _create_pod(self, body: dict[str, Any]) -> None:
        pod = RunPod(body, self.api.folder, self.api.environment, self.api.addresses, self.api.waits)
        self.api.run_pods[pod.name] = pod
        self.api.run_pods_created.append(pod)
        self._send(201, body)

    def _run_pod(self, verb: str, name: str, wants_log: bool) -> None:
        if wants_log:
            return self._text(self.api.run_pods[name].log.read_bytes())
        pod = self.api.run_pods[name] if verb == "GET" else self.api.run_pods.pop(name)
        self._send(200, pod.document | {"status": pod.status})

    def _one(self, verb: str, name: str, policy: str) -> None:
        with self.api.lock:
            if name not in self.api.jobs:
                return self._send(404)
            if verb == "GET":
                return self._send(200, self.api.seen(name))
            self.api.delete(name, policy)
        self._send(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _log(self, pod: str, query: dict[str, str]) -> None:
        """What the pod's container has written, and with `follow` all that it writes until it ends.

        A container that was restarted in place begins a log of its own; the one before has its log under `previous`.
        """
        jobs = [*self.api.nodes.values(), *self.api.left.values()]
        node = next((n for nodes in jobs for n in nodes if n.name == pod), None)
        wanted = -2 if query.get("previous", "").lower() == "true" else -1
        if node is None or len(node.containers) < -wanted:
            return self._send(404 if node is None else 400)
        container = node.containers[wanted]
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        with contextlib.suppress(OSError), container.log.open("rb") as log:
            while True:
                ended = container.process.poll() is not None or query.get("follow", "").lower() != "true"
                said = log.read()
                self.wfile.write(said)
                self.wfile.flush()
                if ended:
                    return
                if said and self.api.broken_streams:
                    self.api.broken_streams -= 1
                    return
                time.sleep(0.1)

    def _text(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send(self, code: int, document: dict[str, Any] | None = None) -> None:
        reason = {404: "NotFound", 409: "AlreadyExists", 403: "Forbidden"}.get(code, "Failure")
        failure = {"kind": "Status", "status": "Failure", "reason": reason, "message": f"it is {reason}", "code": code}
        data = json.dumps(document or failure).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def running(folder: Path, environment: dict[str, str]) -> Iterator[KubernetesApi]:
    """Serve until the block ends, and end the nodes that are left."""
    api = KubernetesApi(folder, environment)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    server.daemon_threads = True
    api.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        for nodes in [*api.nodes.values(), *api.left.values()]:
            for node in nodes:
                node.end()
        for pod in api.run_pods_created:
            pod.end()
