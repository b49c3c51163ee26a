"""The kinds of model: each is a package with a module a part, found by the recipe's `task`.

Ours are the folders of `modelmill/tasks`; others are entry points in the group `modelmill.tasks`, which name a package.
`modelmill.tasks.contract` says what each part holds. This module is the one place that looks a part up: it imports it
where it is used, since only some parts know torch, and fills what a part may leave out with a default.
"""

import importlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from modelmill.core.errors import UserError

if TYPE_CHECKING:
    from modelmill.recipe.sections import Recipe
    from modelmill.tasks.contract import (
        CostPart,
        DemoPart,
        EvaluatePart,
        Preprocessing,
        RecipePart,
        Registering,
        Training,
    )

OURS = "modelmill.tasks"
GROUP = "modelmill.tasks"
SERVE = "serve.py"


@cache
def packages() -> dict[str, str]:
    """Return the dotted name of each task's package, by the task's name; ours first."""
    places = Path(__file__).parents[1] / "tasks"
    ours = {file.parent.name: f"{OURS}.{file.parent.name}" for file in sorted(places.glob("*/recipe.py"))}
    others = {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}
    return {**ours, **{name: package for name, package in others.items() if name not in ours}}


def is_ours(task: str) -> bool:
    """Return whether a task ships with Modelmill."""
    return packages()[task].startswith(f"{OURS}.")


def folder(task: str) -> Path:
    """Return the folder of a task's package, which is not imported.

    Raises:
        UserError: An entry point names a package that is not installed.
    """
    package = packages()[task]
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(
            f"task {task}: its entry point names the package {package}, which is not there; install it again"
        )
    return Path(spec.origin).parent


def recipe_type(task: str) -> "type[Recipe]":
    """Return the model of a task's recipes.

    Raises:
        UserError: The task's `recipe.py` cannot be imported.
    """
    try:
        return cast("RecipePart", _part(task, "recipe")).Recipe
    except ImportError as error:
        raise UserError(f"task {task}: recipe.py cannot be imported: {error}") from error


def preprocessing(task: str) -> "Preprocessing":
    """Return the functions that make a task's corpus."""
    return cast("Preprocessing", _filled(task, "preprocess", fit=_fit_nothing, encode=_encode_nothing))


def training(task: str) -> "Training":
    """Return the function that makes a task, and that which looks at weights before."""
    return cast("Training", _filled(task, "task", check_model=_check_nothing))


def evaluation(task: str) -> "EvaluatePart":
    """Return the function that measures a task's model."""
    return cast("EvaluatePart", _part(task, "evaluate"))


def registration(task: str) -> "Registering":
    """Return what registration says of a task's model."""
    part = _filled(task, "register", artifacts=_no_artifacts)
    if not hasattr(part, "interface_with"):
        part.interface_with = lambda artifacts, columns: part.interface(artifacts["model"], columns)
    return cast("Registering", part)


def costing(task: str) -> "CostPart":
    """Return the function that tells what training will compute; of a task without one it tells nothing."""
    if not _has(task, "cost"):
        return cast("CostPart", SimpleNamespace(UNIT="samples", cost=_unknown_cost))
    return cast("CostPart", _part(task, "cost"))


def demos(task: str) -> "DemoPart":
    """Return the functions that make demo data for a task's recipes."""
    if not _has(task, "demo"):
        return cast("DemoPart", SimpleNamespace(DEMOS={}))
    return cast("DemoPart", _part(task, "demo"))


def _part(task: str, name: str) -> Any:
    return importlib.import_module(f"{packages()[task]}.{name}")


def _has(task: str, name: str) -> bool:
    return (folder(task) / f"{name}.py").is_file()


def _filled(task: str, name: str, **defaults: Any) -> Any:
    """Return a part with defaults for what it may leave out."""
    return SimpleNamespace(**{**defaults, **vars(_part(task, name))})


def _fit_nothing(step: Any, shards: Any) -> None:
    return None


def _encode_nothing(step: Any, shards: Any, fitted: Any, chosen: range) -> tuple[list[Any], int]:
    return [], 0


def _check_nothing(folder: Path, recipe: Any) -> dict[str, Any]:
    return {}


def _no_artifacts(step: Any) -> dict[str, Path]:
    return {}


def _unknown_cost(recipe: Any, stage: str, known: Any) -> None:
    return None
