"""Why a pod does not start and why it has ended, as one plain reason, from its JSON and its events."""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from modelmill.core.errors import one_line
from modelmill.core.units import of_seconds

Kind = Literal[
    "image",
    "refused",
    "config",
    "node",
    "quota",
    "memory",
    "evicted",
    "preempted",
    "lost",
    "upload",
    "deadline",
    "other",
]
MAIN, UPLOADER = "main", "wait"
NODE_NAME = "workflows.argoproj.io/node-name"
PROFILE_LABEL, STEP_LABEL = "modelmill.dev/profile", "modelmill.dev/step"
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
_REFUSED = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff", "StartError"}
_UNMOUNTED = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}
# A Secret, a ConfigMap, or one of their keys.
_MISSING = re.compile(r"(?i)\b(secret|configmap) .*not found|find key .* in (secret|configmap)")
_MOST_CHARACTERS = 300
_ADVICE: dict[Kind, str] = {
    "image": "push it, or correct images in the cluster file",
    "config": "create it in the namespace of the runs",
    "node": "ask for less in resources, choose another profile, or add such a node",
    "quota": "wait for other runs, ask for less in resources, or have the quota raised",
    "memory": "give it more with resources.{step}.memory",
    "deadline": "give its profile a longer timeout",
}


class Reason(NamedTuple):
    """Why a pod does not start, or why it has ended.

    Attributes:
        kind: Kind of the reason.
        text: The reason in words.
    """

    kind: Kind
    text: str

    def advised(self, step: str) -> str:
        """Return the reason and, where there is something to do about it, what that is.

        Args:
            step: The step's name.
        """
        advice = _ADVICE.get(self.kind)
        return f"{self.text}; {advice.format(step=step)}" if advice else self.text


def waiting(pod: dict[str, Any], events: list[dict[str, Any]]) -> Reason | None:
    """Return what a pod is waiting for that has not begun; None where it has, or nothing tells.

    Args:
        pod: The pod.
        events: Its events, oldest first.
    """
    if _status(pod).get("phase") != "Pending":
        return None
    return _unscheduled(pod) or _not_created(pod, events) or _of_events(events)


def ended(pod: dict[str, Any]) -> Reason | None:
    """Return why a pod has ended badly; None where its containers say nothing that their step would not.

    Args:
        pod: The pod.
    """
    return _out_of_memory(pod) or _disrupted(pod) or _rejected(pod) or _not_uploaded(pod)


def uploading(pod: dict[str, Any]) -> bool:
    """Return whether a pod's work is done and its executor goes on."""
    states = {status["name"]: status.get("state") or {} for status in _status(pod).get("containerStatuses") or []}
    return "terminated" in states.get(MAIN, {}) and "running" in states.get(UPLOADER, {})


def was_restarted(pod: dict[str, Any]) -> bool:
    """Return whether a container was started again in its pod, as those of a TrainJob's nodes are.

    Args:
        pod: The pod.
    """
    return any(status.get("restartCount") for status in _containers(pod))


def finished(pod: dict[str, Any]) -> str | None:
    """Return when the work of a pod was done, as Kubernetes writes it; None where it is not.

    Args:
        pod: The pod.
    """
    state = next((status.get("state") or {} for status in _containers(pod) if status["name"] == MAIN), {})
    moment: str | None = (state.get("terminated") or {}).get("finishedAt")
    return moment


def has_ended(pod: dict[str, Any]) -> bool:
    """Return whether a pod has ended."""
    return _status(pod).get("phase") in {"Succeeded", "Failed"}


def step_of(pod: dict[str, Any]) -> str:
    """Return the step that a pod is of, such as `fine_tuning`; of another pod its task, such as `driver of evaluation`.

    Args:
        pod: The pod.
    """
    metadata = pod["metadata"]
    if step := (metadata.get("labels") or {}).get(STEP_LABEL):
        return str(step).replace("-", "_")
    name = (metadata.get("annotations") or {}).get(NODE_NAME)
    return task_of(str(name or metadata["name"]))


def task_of(node: str) -> str:
    """Return the task that a node of a Workflow is of.

    Args:
        node: The node's name, such as `tabular-mlp-x7k2p(0).root(0).fine-tuning(0).executor(3)`.
    """
    parts = re.sub(r"\([^()]*\)", "", node).split(".")
    task = parts[-2] if parts[-1] == "executor" and len(parts) > 1 else parts[-1]
    words = task.removesuffix("-driver").replace("-", "_")
    if not task.endswith("-driver"):
        return words
    return "driver of the run" if words == "root" else f"driver of {words}"


def of_message(message: str) -> Reason | None:
    """Return the reason in the message of a Workflow's node; None for one that says nothing.

    Args:
        message: The message.
    """
    quota = re.search(r"exceeded quota: (\S+), requested: (.+), used: (.+), limited: (.+)", message)
    if quota:
        name, asked, used, limit = quota.groups()
        return Reason("quota", f"quota {name} is used up: it asks for {asked}, and {used} of {limit} is in use")
    known: tuple[tuple[str, Kind, str], ...] = (
        ("exceeded quota", "quota", "{}"),
        ("OOMKilled", "memory", "out of memory"),
        ("low on resource", "evicted", "evicted: {}"),
        ("node shutdown", "lost", "its node was shut down"),
        ("pod deleted", "lost", "its pod was deleted, by a person or with its node"),
        ("failed to put file", "upload", "what it made could not be uploaded: {}"),
        ("active on the node longer", "deadline", "not finished within its time limit"),
        ("ImagePullBackOff", "image", "{}"),
        ("ErrImagePull", "image", "{}"),
        ("Unschedulable", "node", "no node fits: {}"),
        ("is forbidden", "other", "{}"),
    )
    said = re.sub(r"^(?:Unschedulable|wait: Error \(exit code \d+\)): ", "", message)
    return next((Reason(kind, text.format(short(said))) for word, kind, text in known if word in message), None)


def _unscheduled(pod: dict[str, Any]) -> Reason | None:
    """Return why no node takes a pod, with its profile and what it asks for."""
    condition = _condition(pod, "PodScheduled")
    if condition.get("status") != "False":
        return None
    # What could be preempted, and why that would not help, is of no use to whoever asks for less.
    said = str(condition.get("message") or condition.get("reason")).split(". ")[0].rstrip(".")
    profile = (pod["metadata"].get("labels") or {}).get(PROFILE_LABEL)
    asks = f"profile {profile} asks" if profile else "it asks"
    requests = _resources(pod, MAIN).get("requests") or {}
    wanted = ", ".join(f"{name} {amount}" for name, amount in sorted(requests.items()))
    return Reason("node", f"no node fits: {said}" + (f"; {asks} for {wanted}" if wanted else ""))


def _not_created(pod: dict[str, Any], events: list[dict[str, Any]]) -> Reason | None:
    """Return why a container is not created: its image, its user, a Secret or a ConfigMap."""
    for status in _containers(pod):
        state = (status.get("state") or {}).get("waiting") or {}
        reason, said = state.get("reason"), str(state.get("message") or "")
        if reason in _IMAGE:
            failed = [event for event in events if "Failed to pull" in str(event.get("message"))]
            return Reason("image", _unpulled(status["image"], str(failed[-1]["message"]) if failed else said))
        if reason in _REFUSED:
            said = re.sub(r" \(pod: .*\)$", "", said)
            kind: Kind = "config" if _MISSING.search(said) else "refused"
            return Reason(kind, f"its container is refused: {short(said or str(reason))}")
    return None


def _of_events(events: list[dict[str, Any]]) -> Reason | None:
    """Return the newest event that says why a pod does not go on."""
    for event in reversed(events):
        reason, said = event.get("reason"), str(event.get("message") or "")
        if reason in _UNMOUNTED:
            return Reason("config" if "not found" in said else "refused", f"it is not set up: {short(said)}")
        if reason == "Pulling":
            return Reason("other", f"{said[:1].lower()}{short(said[1:])}")
        if event.get("type") == "Warning":
            return Reason("other", short(said))
    return None


def _out_of_memory(pod: dict[str, Any]) -> Reason | None:
    for status in _containers(pod):
        for state in (status.get("state") or {}, status.get("lastState") or {}):
            if (state.get("terminated") or {}).get("reason") == "OOMKilled":
                given = status.get("resources") or _resources(pod, status["name"])
                limit = (given.get("limits") or {}).get("memory")
                return Reason("memory", f"out of memory with {limit}" if limit else "out of memory")
    return None


def _disrupted(pod: dict[str, Any]) -> Reason | None:
    """Return what has taken a pod away from its work: its node, the scheduler, or its time limit."""
    status, target = _status(pod), _condition(pod, "DisruptionTarget")
    said, taken = short(str(status.get("message") or "")), str(target.get("reason") or "")
    if status.get("reason") == "Evicted":
        return Reason("evicted", f"evicted: {said}" if said else "evicted")
    if status.get("reason") == "DeadlineExceeded":
        limit = pod["spec"].get("activeDeadlineSeconds")
        return Reason("deadline", "not finished within its time limit" + (f" of {of_seconds(limit)}" if limit else ""))
    if taken == "PreemptionByScheduler" or status.get("reason") in {"Preempted", "Preempting"}:
        return Reason("preempted", "preempted by a pod of higher priority")
    if taken == "EvictionByEvictionAPI":
        return Reason("evicted", "evicted: its node was being emptied")
    if taken or status.get("reason") in {"NodeLost", "NodeShutdown", "Terminated", "Shutdown"}:
        said = said or short(str(target.get("message") or ""))
        return Reason("lost", f"it lost its node: {said}" if said else "it lost its node")
    return None


def _rejected(pod: dict[str, Any]) -> Reason | None:
    """Return why a node has refused a pod, or could not start one of its containers."""
    status = _status(pod)
    if status.get("phase") == "Failed" and not status.get("containerStatuses") and status.get("message"):
        return Reason("node", f"refused by its node: {short(str(status['message']))}")
    for container in _containers(pod):
        end = (container.get("state") or {}).get("terminated") or {}
        if end.get("reason") in _REFUSED | {"ContainerCannotRun"}:
            return Reason("refused", f"its container did not start: {short(str(end.get('message') or end['reason']))}")
    return None


def _not_uploaded(pod: dict[str, Any]) -> Reason | None:
    ends = {status["name"]: (status.get("state") or {}).get("terminated") or {} for status in _containers(pod)}
    end = ends.get(UPLOADER, {})
    if ends.get(MAIN, {}).get("exitCode") == 0 and end.get("exitCode"):
        said = short(str(end.get("message") or f"exit code {end['exitCode']}"))
        return Reason("upload", f"what it made could not be uploaded: {said}")
    return None


def _unpulled(image: str, said: str) -> str:
    """Return that an image cannot be pulled, with the end of the chain of causes."""
    cause = re.sub(r'^(?:[^"]*"[^"]*":? ?)+', "", said)
    return f"image {image} cannot be pulled" + (f": {short(cause)}" if cause else "")


def _containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the status of each container, that of the step first."""
    status = _status(pod)
    listed = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    yield from sorted(listed, key=lambda one: one["name"] != MAIN)


def _resources(pod: dict[str, Any], container: str) -> dict[str, Any]:
    listed = [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]
    # A node of a TrainJob has one container, which is not called main.
    found = next((one for one in listed if one["name"] == container), listed[0] if listed else {})
    return found.get("resources") or {}


def _condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    found = (one for one in _status(pod).get("conditions") or [] if one.get("type") == kind)
    condition: dict[str, Any] = next(found, {})
    return condition


def _status(pod: dict[str, Any]) -> dict[str, Any]:
    return pod.get("status") or {}


def short(text: str) -> str:
    """Return a text on one line, cut where it is long.

    Args:
        text: The text.
    """
    line = one_line(Exception(text)) if text else ""
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 3]}..."
