"""The kinds of model: each is a package of its own, with a module a part, found by the recipe's `task`.

Ours are the folders of `modelmill/tasks`; others are entry points in the group `modelmill.tasks`, which name one. What
a package holds is in docs/add-a-task.md. A part is imported where it is used, since only some may know torch.
"""

import importlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

OURS = "modelmill.tasks"
GROUP = "modelmill.tasks"


@cache
def packages() -> dict[str, str]:
    """The dotted name of each task's package, by the task's name; ours first."""
    folder = Path(__file__).parents[1] / "tasks"
    ours = {file.parent.name: f"{OURS}.{file.parent.name}" for file in sorted(folder.glob("*/recipe.py"))}
    others = {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}
    return {**others, **ours} if others else ours


def part(task: str, name: str) -> ModuleType:
    """A module of a task's package."""
    return importlib.import_module(f"{packages()[task]}.{name}")


def has(task: str, name: str) -> bool:
    """Whether a task's package has a part that not every task needs."""
    return (folder(task) / f"{name}.py").is_file()


def folder(task: str) -> Path:
    """Where a task's package is; it is not imported."""
    found = importlib.util.find_spec(packages()[task])
    assert found is not None and found.origin is not None
    return Path(found.origin).parent
