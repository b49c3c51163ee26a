"""Who reaches whom, by the NetworkPolicies: the rules of the API's documentation, for pods of one namespace."""

from typing import Any

Labels = dict[str, str]
Policy = dict[str, Any]


def reaches(policies: list[Policy], source: Labels, target: Labels, port: int) -> bool:
    """Whether a pod with the source's labels may open a connection to a pod with the target's."""
    leaves = _lets(policies, "Egress", source, target, port)
    return leaves and _lets(policies, "Ingress", target, source, port)


def outside(policy: Policy, source: Labels) -> list[tuple[str, int]]:
    """The address blocks and ports outside the namespace that a policy lets a pod reach."""
    if not selects(policy["spec"]["podSelector"], source):
        return []
    return [
        (peer["ipBlock"]["cidr"], port["port"])
        for rule in policy["spec"].get("egress", [])
        for peer in rule.get("to", [])
        if "ipBlock" in peer
        for port in rule.get("ports", [])
    ]


def _lets(policies: list[Policy], direction: str, own: Labels, other: Labels, port: int) -> bool:
    concerned = [
        one["spec"]
        for one in policies
        if direction in one["spec"]["policyTypes"] and selects(one["spec"]["podSelector"], own)
    ]
    if not concerned:
        return True
    key, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    rules = [rule for spec in concerned for rule in spec.get(key, [])]
    return any(_rule_lets(rule, peers, other, port) for rule in rules)


def _rule_lets(rule: dict[str, Any], peers: str, other: Labels, port: int) -> bool:
    ports = rule.get("ports")
    if ports and port not in [one.get("port") for one in ports]:
        return False
    if peers not in rule:
        return True
    return any(
        "podSelector" in peer and "namespaceSelector" not in peer and selects(peer["podSelector"], other)
        for peer in rule[peers]
    )


def selects(selector: dict[str, Any], labels: Labels) -> bool:
    """Whether a label selector matches."""
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _matches(one, labels) for one in selector.get("matchExpressions", [])
    )


def _matches(expression: dict[str, Any], labels: Labels) -> bool:
    key, values = expression["key"], expression.get("values", [])
    return {
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
    }[expression["operator"]]
