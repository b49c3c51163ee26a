"""What KFP refuses of the parameters that a run or a recurring run is created with, in its words."""

from typing import Any

import yaml


def refusal(file: bytes, given: dict[str, Any]) -> str | None:
    """The message for parameters that do not go with a version's file; None for those that do."""
    wanted = next(yaml.safe_load_all(file))["root"].get("inputDefinitions", {}).get("parameters", {})
    said = "Failed to generate the ExecutionSpec: invalid pipeline job inputs: Invalid input error: "
    if unknown := [name for name in given if name not in wanted]:
        return f"{said}parameter(s) provided are not required by pipeline: {', '.join(unknown)}"
    for name, kind in wanted.items():
        if name not in given and not kind.get("isOptional") and "defaultValue" not in kind:
            return f"{said}parameter {name} is not optional, yet has neither default value nor user provided value"
    return None
