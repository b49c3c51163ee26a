"""Whether the nodes and the quota of a cluster can hold a recipe's steps, where both can be read from here."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from modelmill.pipelines.cluster import placement, training_nodes
from modelmill.pipelines.cluster import profiles as profile_files
from modelmill.pipelines.cluster.profiles import Expression, Profile, Profiles
from modelmill.pipelines.cluster.settings import Cluster
from modelmill.recipe import Recipe
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime import node as nodes
from modelmill.runtime.pods import reading

_KEEPS_OFF = {"NoSchedule", "NoExecute"}


def warnings(recipe: Recipe, cluster: Cluster, run_id: str) -> list[str]:
    """Return a line for each step that no node fits, or that is more than the quota has left.

    Only a namespace that has the run's Workflow is believed: the file that says how Kubernetes is reached may be of
    another cluster.

    Args:
        recipe: The resolved recipe.
        cluster: The cluster.
        run_id: The run that was started.
    """
    kubernetes = reading.connect(cluster.kfp.namespace)
    if kubernetes is None or kubernetes.workflow(run_id) is None:
        return []
    profiles = profile_files.load(cluster.profiles)
    there, quotas = kubernetes.nodes(), kubernetes.quotas()
    try:
        return list(_found(recipe, profiles, there, quotas))
    except (KeyError, TypeError, ValueError):
        # The run has been started: what cannot be read of a node is no reason to fail.
        return []


def _found(
    recipe: Recipe, profiles: Profiles, there: list[dict[str, Any]], quotas: list[dict[str, Any]]
) -> Iterator[str]:
    """Yield the warnings, in the order of the steps."""
    for step in STEPS:
        if getattr(recipe, step, True) is None:
            continue
        profile, count = placement.profile_of(step, recipe, profiles), _count(step, recipe)
        named = _named(step, recipe, profile, profiles)
        if there and (why := _unfit(profile, profiles, there)):
            yield f"{step}: no node fits {named}: {why}; it waits until there is one, or cancel it"
        yield from (f"{step}: {named} {why}" for why in _beyond(profile, count, quotas))


def _count(step: str, recipe: Recipe) -> int:
    return int(getattr(recipe, step).nodes) if nodes.are_wanted(step, recipe) else 1


def _named(step: str, recipe: Recipe, profile: Profile, profiles: Profiles) -> str:
    """Return a step's profile in words, with what it asks for."""
    name = placement.profile_name(step, recipe, profiles)
    wanted = ", ".join(f"{resource} {amount}" for resource, amount in _requests(profile).items())
    return " ".join(part for part in (f"profile {name}" if name else "", f"({wanted})" if wanted else "") if part)


def _requests(profile: Profile) -> dict[str, str]:
    """Return what a pod of a profile requests: its limits."""
    asked = {"cpu": profile.cpu, "memory": profile.memory}
    accelerator = {profile.accelerator.type: str(profile.accelerator.count)} if profile.accelerator else {}
    return {name: amount for name, amount in asked.items() if amount} | accelerator


def _unfit(profile: Profile, profiles: Profiles, there: list[dict[str, Any]]) -> str | None:
    """Return why none of the nodes fits, the reasons counted; None where one does, when nothing else runs on it."""
    reasons = [_why_not(profile, profiles, node) for node in there]
    if not all(reasons):
        return None
    counted = Counter(reasons).most_common()
    return f"0 of {len(there)} nodes: " + ", ".join(f"{count} {reason}" for reason, count in counted)


def _why_not(profile: Profile, profiles: Profiles, node: dict[str, Any]) -> str | None:
    labels = node["metadata"].get("labels") or {}
    for label, value in profile.node_selector.items():
        if labels.get(label) != value:
            return f"without label {label}={value}"
    for condition in training_nodes.required(profile, profiles):
        if not _holds(condition, labels):
            return f"not {condition.key} {condition.operator} {', '.join(condition.values)}".rstrip()
    for taint in node["spec"].get("taints") or []:
        if taint.get("effect") in _KEEPS_OFF and not _tolerates(profile, taint):
            return f"with taint {taint['key']}"
    offered = node["status"].get("allocatable") or {}
    for resource, amount in _requests(profile).items():
        if _amount(offered.get(resource, "0")) < _amount(amount):
            return f"with {resource} {offered.get(resource, '0')}"
    return None


def _holds(condition: Expression, labels: dict[str, str]) -> bool:
    """Return whether a node's labels meet a condition, as Kubernetes reads it."""
    value = labels.get(condition.key)
    match condition.operator:
        case "In":
            return value in condition.values
        case "NotIn":
            return value not in condition.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    try:
        here, bound = int(value or ""), int(condition.values[0])
    except ValueError:
        return False
    return here > bound if condition.operator == "Gt" else here < bound


def _tolerates(profile: Profile, taint: dict[str, Any]) -> bool:
    return any(
        one.key == taint["key"]
        and one.effect in (None, taint.get("effect"))
        and (one.operator == "Exists" or one.value == taint.get("value", ""))
        for one in profile.tolerations
    )


def _beyond(profile: Profile, count: int, quotas: list[dict[str, Any]]) -> list[str]:
    """Return which quotas have less left than a step's pods request, and whether waiting can help."""
    found = []
    for quota in quotas:
        status, name = quota.get("status") or {}, quota["metadata"]["name"]
        hard, used = status.get("hard") or {}, status.get("used") or {}
        for resource, amount in _requests(profile).items():
            key = next((one for one in (f"requests.{resource}", resource) if one in hard), None)
            if key is None:
                continue
            wanted, most = _amount(amount) * count, _amount(hard[key])
            if wanted > most:
                found.append(f"is more than quota {name} allows: {key} {hard[key]}; have it raised, or cancel the run")
            elif wanted > most - _amount(used.get(key, "0")):
                found.append(
                    f"is more than quota {name} has left: {key} {used.get(key)} of {hard[key]} is in use; it waits "
                    "for other runs"
                )
    return found


def _amount(quantity: str) -> Decimal:
    from kubernetes.utils.quantity import parse_quantity

    amount: Decimal = parse_quantity(quantity)
    return amount
