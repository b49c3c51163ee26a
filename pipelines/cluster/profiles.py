"""The profiles file: the kinds of nodes that a cluster has, named once, for recipes to ask for by name."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from modelmill.core.errors import UserError
from modelmill.pipelines.cluster import files
from modelmill.recipe.load import explain
from modelmill.recipe.sections import GPU, Section

Quantity = Annotated[str, Field(pattern=r"^[0-9]+[EPTGMK]i?$")]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}


class Expression(Section):
    """A condition on a label of a node, as in Kubernetes; with a weight it is a wish."""

    key: str = Field(min_length=1, description="Label of the node.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="What the label must be, as in Kubernetes."
    )
    values: list[str] = Field(
        default=[], description="Values for the operator; one for `Gt` and `Lt`, none for `Exists` and `DoesNotExist`."
    )
    weight: int | None = Field(
        default=None, ge=1, le=100, description="Weight of a wish; null makes it a condition that must hold."
    )

    @model_validator(mode="after")
    def _values_fit(self) -> "Expression":
        if self.operator.endswith("Exist") or self.operator == "Exists":
            if self.values:
                raise ValueError(f"{self.operator} takes no values")
        elif not self.values or (self.operator in {"Gt", "Lt"} and len(self.values) != 1):
            raise ValueError(f"{self.operator} takes {'values' if self.operator.endswith('In') else 'one value'}")
        return self


class Toleration(Section):
    """A taint of nodes that a step may run on all the same."""

    key: str = Field(min_length=1, description="Key of the taint.")
    operator: Literal["Equal", "Exists"] = Field(
        default="Exists", description="`Exists` takes a taint of any value, `Equal` only one of `value`."
    )
    value: str | None = Field(default=None, description="Value of the taint, for `Equal`.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Effect of the taint; null takes any."
    )

    @model_validator(mode="after")
    def _value_fits(self) -> "Toleration":
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("Equal takes a value" if self.value is None else "Exists takes no value; write Equal")
        return self


class Accelerator(Section):
    """The accelerators that a step gets."""

    type: str = Field(default=GPU, min_length=1, description="Resource that the nodes' device plugin offers.")
    count: int = Field(default=1, ge=1, le=64, description="How many of it a step gets.")


class Profile(Section):
    """A kind of node, and how a step runs on it."""

    accelerator: Accelerator | None = Field(default=None, description="Accelerators that a step gets; null: none.")
    cpu: str | None = Field(
        default=None,
        pattern=r"^[0-9]+(\.[0-9]+)?m?$",
        description='CPUs that a step gets and may not exceed, such as "2" or 500m; null sets no limit.',
    )
    memory: Quantity | None = Field(
        default=None, description="Memory that a step gets and may not exceed, such as 4Gi; null sets no limit."
    )
    node_selector: dict[str, str] = Field(default={}, description="Labels that the node has, by their keys.")
    affinity: list[Expression] = Field(default=[], description="Conditions on the node's labels; all must hold.")
    tolerations: list[Toleration] = Field(
        default=[], description="Taints of nodes that the step may run on all the same."
    )
    shm: Quantity | None = Field(
        default=None,
        description="Size of `/dev/shm`, which data loaders and NCCL use and which counts towards `memory`; null is "
        "64 MiB.",
    )
    priority: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$",
        description="Name of a PriorityClass; null takes that of the run, by who asks for it.",
    )
    timeout: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]*[smhd]$",
        description="Time after which an attempt ends: `90s`, `30m`, `24h`, `3d`; null sets no limit.",
    )
    retries: int = Field(
        default=3, ge=0, le=100, description="Attempts after the first, for a step that failed or lost its node."
    )
    grace: str | None = Field(
        default=None,
        pattern=r"^[1-9][0-9]*[smh]$",
        description="Time that a step has to save when its pod is ended: `90s`, `10m`; null is the cluster's, 2 "
        "minutes with k8s/kfp.",
    )
    backoff: str = Field(default="30s", pattern=r"^[1-9][0-9]*[smh]$", description="Wait before each further attempt.")

    @model_validator(mode="after")
    def _memory_holds_shm(self) -> "Profile":
        if self.shm and self.memory and size(self.shm) >= size(self.memory):
            raise ValueError(f"shm: {self.shm} is part of the step's memory, which is {self.memory}")
        return self


class Profiles(Section):
    """The kinds of nodes that a cluster has."""

    default: str | None = Field(default=None, description="Profile of steps that ask for nothing; null: none.")
    cpu_nodes: list[Expression] = Field(
        default=[Expression(key="nvidia.com/gpu.present", operator="NotIn", values=["true"])],
        min_length=1,
        description="Conditions on the nodes of steps without an accelerator, which run on no others.",
    )
    profiles: dict[str, Profile] = Field(min_length=1, description="Profiles by their names.")


def load(path: str) -> Profiles:
    """Return the profiles of a file.

    Args:
        path: File to read.

    Raises:
        UserError: It cannot be read, a key is unknown, or a value is not what it should be.
    """
    document = files.read(Path(path), path, "no such profiles file; k8s/profiles.yaml is one to copy")
    if not isinstance(document, dict):
        raise UserError(f"{path}: a profiles file is a mapping with the key profiles")
    if isinstance(named := document.get("profiles"), dict):
        document = document | {"profiles": {name: _profile(path, name, body) for name, body in named.items()}}
    try:
        profiles = Profiles.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, Profiles)}") from error
    if profiles.default is not None and profiles.default not in profiles.profiles:
        raise UserError(f"{path}: default: {unknown(profiles.default, profiles)}")
    return profiles


def unknown(name: str, profiles: Profiles) -> str:
    """Return a sentence that there is no such profile, and which one may be meant.

    Args:
        name: Name that was written.
        profiles: Profiles that there are.
    """
    near = difflib.get_close_matches(name, list(profiles.profiles), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(profiles.profiles)}"
    return f"no profile {name!r}; {hint}"


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as `90s`, `5m`, `24h` or `7d`."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def size(quantity: str) -> int:
    """Return the bytes of a quantity such as `16Gi` or `500M`."""
    if quantity.endswith("i"):
        return int(quantity[:-2]) * 1024 ** (1 + "KMGTPE".index(quantity[-2]))
    return int(quantity[:-1]) * _BYTES[quantity[-1]]


def _profile(path: str, name: Any, body: Any) -> Profile:
    """One profile on its own, so that what is wrong with it is said with its name."""
    try:
        return Profile.model_validate(body or {})
    except ValidationError as error:
        raise UserError(f"{path}: profiles.{name}: {explain(error, Profile)}") from error
