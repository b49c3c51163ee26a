"""A training on several nodes: its step only waits, and what its profile says is for the nodes of the TrainJob."""

from typing import Any

from modelmill.pipelines.cluster.profiles import Expression, Profile, Profiles
from modelmill.runtime.node import Node

# The step imports torch, holds no data, and passes a log on.
CPU, MEMORY = "1", "2Gi"


def waiting(profile: Profile, profiles: Profiles) -> Profile:
    """Return what the step itself runs with: a small pod on the nodes of steps that ask for nothing, for as long.

    Args:
        profile: The step's profile, for the nodes of the TrainJob.
        profiles: The cluster's kinds of nodes.
    """
    small = profiles.profiles[profiles.default] if profiles.default else Profile()
    own = {"cpu": CPU, "memory": MEMORY, "shm": None, "accelerator": None}
    kept = {key: getattr(profile, key) for key in ("priority", "timeout", "grace", "retries", "backoff")}
    return small.model_copy(update=own | kept)


def node(profile: Profile, profiles: Profiles, labels: dict[str, str]) -> Node:
    """Return what each node of the TrainJob gets of the step's profile.

    Args:
        profile: The step's profile.
        profiles: The cluster's kinds of nodes.
        labels: Labels of the pods.
    """
    resources: dict[str, str | int] = {}
    if profile.cpu:
        resources["cpu"] = profile.cpu
    if profile.memory:
        resources["memory"] = profile.memory
    if profile.accelerator:
        resources[profile.accelerator.type] = profile.accelerator.count
    return Node(
        resources=resources,
        labels=labels,
        node_selector=profile.node_selector,
        affinity=_affinity(profile, profiles),
        tolerations=[toleration.model_dump(exclude_none=True) for toleration in profile.tolerations],
        shm=profile.shm,
    )


def required(profile: Profile, profiles: Profiles) -> list[Expression]:
    """Return the conditions that all must hold of a node; without an accelerator also those that keep off GPU nodes.

    Args:
        profile: The step's profile.
        profiles: The cluster's kinds of nodes.
    """
    own = [condition for condition in profile.affinity if condition.weight is None]
    return own if profile.accelerator else own + profiles.cpu_nodes


def _affinity(profile: Profile, profiles: Profiles) -> dict[str, Any]:
    """Return the affinity of a pod."""
    must, wishes = required(profile, profiles), [wish for wish in profile.affinity if wish.weight is not None]
    rules: dict[str, Any] = {}
    if must:
        rules["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [_term(must)]}
    if wishes:
        rules["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": wish.weight, "preference": _term([wish])} for wish in wishes
        ]
    return {"nodeAffinity": rules} if rules else {}


def _term(conditions: list[Expression]) -> dict[str, Any]:
    return {"matchExpressions": [match(condition) for condition in conditions]}


def match(condition: Expression) -> dict[str, Any]:
    """Return a condition as Kubernetes writes it."""
    return condition.model_dump(exclude={"weight"})
