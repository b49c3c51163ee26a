"""Why a run does not go on, and why one of its steps has ended, from all that Kubernetes has of it."""

import logging
import os
import re
import time
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple

from modelmill.core.errors import one_line
from modelmill.runtime.pods import explaining, reading, workflows
from modelmill.runtime.pods.explaining import Reason
from modelmill.runtime.pods.reading import Kubernetes

log = logging.getLogger("modelmill")
# KFP sets it in every pod of a run.
IN_A_POD = "KFP_POD_NAME"
_REPORTING = {"reporting", "driver of reporting"}


class Attempt(NamedTuple):
    """One pod of a run, there or gone.

    Attributes:
        name: Id of its node in the Workflow.
        started: When it was made, as Kubernetes writes it.
        place: Its place in the DAG, which all attempts at it have.
        task: What it is of, such as `fine_tuning` or `driver of evaluation`.
        pod: The pod, if it is there.
        node: The node of the Workflow, if there is one.
    """

    name: str
    started: str
    place: str
    task: str
    pod: dict[str, Any] | None
    node: dict[str, Any] | None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        if self.pod is not None:
            return explaining.has_ended(self.pod)
        return (self.node or {}).get("phase") not in {"Pending", "Running"}


def waiting(kubernetes: Kubernetes, run_id: str, at_least: float = 0) -> str | None:
    """Return what the newest pod of a run that has to wait waits for, with its step before it; None where all goes on.

    Args:
        kubernetes: The run's namespace.
        run_id: The run, as KFP names it.
        at_least: Seconds for which it must have waited.
    """
    unfinished = [attempt for attempt in _attempts(kubernetes, run_id) if not attempt.has_ended]
    for attempt in reversed(unfinished):
        if time.time() - _waits_since(attempt) >= at_least and (reason := _waits_for(kubernetes, attempt)):
            return f"{attempt.task}: {reason.advised(attempt.task)}"
    return None


def tried_again(kubernetes: Kubernetes, run_id: str) -> dict[str, str]:
    """Return why attempts have ended that were followed by another, by the name of their pods.

    Args:
        kubernetes: The run's namespace.
        run_id: The run, as KFP names it.
    """
    told, later = {}, set()
    for attempt in reversed(_attempts(kubernetes, run_id)):
        is_again = (attempt.place in later and attempt.has_ended) or _was_restarted(attempt)
        if is_again and (reason := _ended_by(kubernetes, attempt)):
            told[attempt.name] = f"{attempt.task}: {reason.text}, tried again"
        later.add(attempt.place)
    return dict(reversed(told.items()))


def step_ended(kubernetes: Kubernetes, run_id: str, step: str) -> str | None:
    """Return why a step has ended, or why it did not start; None where Kubernetes does not know.

    Args:
        kubernetes: The run's namespace.
        run_id: The run, as KFP names it.
        step: The step's name.
    """
    workflow = kubernetes.workflow(run_id)
    attempts = _joined(kubernetes.pods(run_id), workflow)
    if own := [attempt for attempt in attempts if attempt.task == step]:
        return _newest_reason(kubernetes, own, step)
    drivers = [attempt for attempt in attempts if attempt.task == f"driver of {step}"]
    if said := _newest_reason(kubernetes, drivers, step):
        return f"its driver: {said}"
    return _run_ended(kubernetes, [attempt for attempt in attempts if attempt.task not in _REPORTING], workflow)


def run_ended(kubernetes: Kubernetes, run_id: str) -> str | None:
    """Return why a run has ended of which no step has said anything; None where Kubernetes does not know.

    Args:
        kubernetes: The run's namespace.
        run_id: The run, as KFP names it.
    """
    workflow = kubernetes.workflow(run_id)
    return _run_ended(kubernetes, _joined(kubernetes.pods(run_id), workflow), workflow)


def told_in_a_pod(run_id: str, step: str) -> str | None:
    """Return why a step has ended, asked by a pod of its own run; None anywhere else, and where nothing is known.

    Args:
        run_id: The run, as KFP names it.
        step: The step's name.
    """
    if IN_A_POD not in os.environ:
        return None
    try:
        kubernetes = reading.connect()
        return step_ended(kubernetes, run_id, step) if kubernetes else None
    except Exception as error:
        # The report goes on without it, whatever Kubernetes has answered.
        log.warning("why %s has ended is not known from its pods: %s", step, one_line(error))
        return None


def _run_ended(kubernetes: Kubernetes, attempts: list[Attempt], workflow: dict[str, Any] | None) -> str | None:
    """Return the newest reason of any place of the DAG, else that of the Workflow itself."""
    for tries in _places(attempts):
        if reason := _last_reason(kubernetes, tries):
            return f"{tries[0].task}: {reason.advised(tries[0].task)}"
    return workflows.failure_of(workflow)


def _newest_reason(kubernetes: Kubernetes, attempts: list[Attempt], step: str) -> str | None:
    """Return the newest reason for which a place of a step was left."""
    reasons = (_last_reason(kubernetes, tries) for tries in _places(attempts))
    return next((reason.advised(step) for reason in reasons if reason), None)


def _last_reason(kubernetes: Kubernetes, tries: list[Attempt]) -> Reason | None:
    """Return why the last attempt at a place has ended; one that a later attempt has made up for is none.

    Args:
        kubernetes: The run's namespace.
        tries: The attempts at the place, newest first.
    """
    reasons = [_ended_by(kubernetes, one) or _waits_for(kubernetes, one) for one in tries]
    if (last := reasons[0]) is None:
        return None
    alike = len(list(takewhile(lambda reason: reason == last, reasons)))
    return Reason(last.kind, f"{last.text}, in each of {alike} attempts") if alike > 1 else last


def _places(attempts: list[Attempt]) -> list[list[Attempt]]:
    """Return the attempts at each place of the DAG, newest first; before the others the place that was tried last."""
    places: dict[str, list[Attempt]] = {}
    for attempt in reversed(attempts):
        places.setdefault(attempt.place, []).append(attempt)
    return list(places.values())


def _attempts(kubernetes: Kubernetes, run_id: str) -> list[Attempt]:
    """Return the pods of a run, and where none goes on also those that its Workflow remembers or could not make."""
    pods = kubernetes.pods(run_id)
    goes_on = any(not explaining.has_ended(pod) for pod in pods)
    return _joined(pods, None if goes_on else kubernetes.workflow(run_id))


def _joined(pods: list[dict[str, Any]], workflow: dict[str, Any] | None) -> list[Attempt]:
    """Return the attempts, oldest first."""
    found = {}
    for node in workflows.pods_of(workflow):
        name, path = node["id"], node["name"]
        found[name] = Attempt(name, str(node.get("startedAt")), _place(path), explaining.task_of(path), None, node)
    for pod in pods:
        name, made = workflows.node_of(pod), str(pod["metadata"].get("creationTimestamp"))
        known = found[name].node if name in found else None
        place = _place(workflows.path_of(pod))
        found[name] = Attempt(name, made, place, explaining.step_of(pod), pod, known)
    return sorted(found.values(), key=lambda attempt: attempt.started)


def _place(path: str) -> str:
    """Return a node's path without the number of the attempt."""
    return re.sub(r"\(\d+\)$", "", path)


def _was_restarted(attempt: Attempt) -> bool:
    return attempt.pod is not None and explaining.was_restarted(attempt.pod)


def _waits_for(kubernetes: Kubernetes, attempt: Attempt) -> Reason | None:
    if attempt.has_ended:
        return None
    if attempt.pod is None:
        return explaining.of_message(str((attempt.node or {}).get("message") or ""))
    name = attempt.pod["metadata"]["name"]
    if explaining.uploading(attempt.pod):
        said = [line for line in kubernetes.log(name, explaining.UPLOADER) if "fail" in line or "error" in line.lower()]
        text = "its work is done, and what it made cannot be uploaded"
        return Reason("upload", f"{text}: {explaining.short(said[-1])}" if said else text)
    if attempt.pod["status"].get("phase") != "Pending":
        return None
    return explaining.waiting(attempt.pod, kubernetes.events(name=name))


def _ended_by(kubernetes: Kubernetes, attempt: Attempt) -> Reason | None:
    if attempt.pod is not None and (reason := explaining.ended(attempt.pod)):
        return reason
    message = str((attempt.node or {}).get("message") or "")
    if not attempt.has_ended or not message:
        return None
    return (_deleted(kubernetes, attempt.name) if "pod deleted" in message else None) or explaining.of_message(message)


def _deleted(kubernetes: Kubernetes, node: str) -> Reason | None:
    """Return why a pod was deleted, of which only its events are left; its name ends as the node's id does."""
    workflow, _, number = node.rpartition("-")
    for why, reason in (
        ("Preempted", Reason("preempted", "preempted by a pod of higher priority")),
        ("TaintManagerEviction", Reason("lost", "it lost its node")),
    ):
        names = [str((event.get("involvedObject") or {}).get("name")) for event in kubernetes.events(reason=why)]
        if any(name.startswith(workflow) and name.endswith(f"-{number}") for name in names):
            return reason
    return None


def _waits_since(attempt: Attempt) -> float:
    """Return since when an attempt waits, in seconds since 1970: since it was made, or since its work was done."""
    moment = attempt.started
    if attempt.pod is not None and explaining.uploading(attempt.pod):
        moment = explaining.finished(attempt.pod) or moment
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0
