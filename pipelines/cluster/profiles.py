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
    """What the label `key` of a node must be, as in Kubernetes; with `weight` (1 to 100) it is a wish, no condition."""

    key: str = Field(min_length=1)
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[str] = []
    weight: int | None = Field(default=None, ge=1, le=100)

    @model_validator(mode="after")
    def _values_fit(self) -> "Expression":
        if self.operator.endswith("Exist") or self.operator == "Exists":
            if self.values:
                raise ValueError(f"{self.operator} takes no values")
        elif not self.values or (self.operator in {"Gt", "Lt"} and len(self.values) != 1):
            raise ValueError(f"{self.operator} takes {'values' if self.operator.endswith('In') else 'one value'}")
        return self


class Toleration(Section):
    """A taint of nodes that the step may run on all the same."""

    key: str = Field(min_length=1)
    operator: Literal["Equal", "Exists"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _value_fits(self) -> "Toleration":
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("Equal takes a value" if self.value is None else "Exists takes no value; write Equal")
        return self


class Accelerator(Section):
    """The resource that the device plugin of the nodes offers, and how many of it a step gets."""

    type: str = Field(default=GPU, min_length=1)
    count: int = Field(default=1, ge=1, le=64)


class Profile(Section):
    """A kind of node, and how a step is run on it.

    `cpu` and `memory` are what the step gets and may not exceed. All of `node_selector` and `affinity` must hold.
    `shm` is the size of /dev/shm, memory that counts towards `memory`; without it the container runtime gives 64 MiB.
    `priority` is the name of a PriorityClass. `timeout` ends one attempt; a step that failed or lost its
    node is tried again `retries` times, each after `backoff`.
    """

    accelerator: Accelerator | None = None
    cpu: str | None = Field(default=None, pattern=r"^[0-9]+(\.[0-9]+)?m?$")
    memory: Quantity | None = None
    node_selector: dict[str, str] = {}
    affinity: list[Expression] = []
    tolerations: list[Toleration] = []
    shm: Quantity | None = None
    priority: str | None = Field(default=None, pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")
    timeout: str | None = Field(default=None, pattern=r"^[1-9][0-9]*[smhd]$")
    retries: int = Field(default=3, ge=0, le=100)
    backoff: str = Field(default="30s", pattern=r"^[1-9][0-9]*[smh]$")

    @model_validator(mode="after")
    def _memory_holds_shm(self) -> "Profile":
        if self.shm and self.memory and size(self.shm) >= size(self.memory):
            raise ValueError(f"shm: {self.shm} is part of the step's memory, which is {self.memory}")
        return self


class Profiles(Section):
    """`default` is the profile of steps that ask for nothing; `cpu_nodes` must hold of nodes without accelerators.

    A step that asks for no accelerator runs on such nodes only.
    """

    default: str | None = None
    cpu_nodes: list[Expression] = Field(
        default=[Expression(key="nvidia.com/gpu.present", operator="NotIn", values=["true"])], min_length=1
    )
    profiles: dict[str, Profile] = Field(min_length=1)


def load(path: str) -> Profiles:
    """Read a profiles file.

    Raises:
        UserError: it cannot be read, a key is unknown, or a value is not what it should be.
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
    """That there is no such profile, and which one may be meant."""
    near = difflib.get_close_matches(name, list(profiles.profiles), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(profiles.profiles)}"
    return f"no profile {name!r}; {hint}"


def seconds(duration: str) -> int:
    """`90s`, `5m`, `24h` or `7d` in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def size(quantity: str) -> int:
    """`16Gi` or `500M` in bytes."""
    if quantity.endswith("i"):
        return int(quantity[:-2]) * 1024 ** (1 + "KMGTPE".index(quantity[-2]))
    return int(quantity[:-1]) * _BYTES[quantity[-1]]


def _profile(path: str, name: Any, body: Any) -> Profile:
    """One profile on its own, so that what is wrong with it is said with its name."""
    try:
        return Profile.model_validate(body or {})
    except ValidationError as error:
        raise UserError(f"{path}: profiles.{name}: {explain(error, Profile)}") from error
