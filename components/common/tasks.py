"""The kinds of model: each is a package of its own, with a module a part, found by the recipe's `task`.

Ours are the folders of `components/tasks`; others are entry points in the group `modelmill.tasks`, which name one. What
a package holds is in docs/add-a-task.md. A part is imported where it is used, since only some may know torch.
"""

import ast
import importlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

OURS = "components.tasks"
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


def sources(task: str, parts: tuple[str, ...]) -> list[Path]:
    """The files of a task's package that these parts consist of: their own, and those that they import, sorted."""
    root, package = folder(task), packages()[task]
    found, waiting = set(), [root / f"{name}.py" for name in parts]
    while waiting:
        file = waiting.pop()
        if file.is_file() and file not in found:
            found.add(file)
            waiting += [root / f"{name}.py" for name in _imported(file, package)]
    return sorted(found)


def _imported(file: Path, package: str) -> set[str]:
    """The modules of its own package that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = f"{package}.{node.module or ''}".rstrip(".") if node.level else str(node.module)
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix(f"{package}.").partition(".")[0] for name in names if name.startswith(f"{package}.")}
