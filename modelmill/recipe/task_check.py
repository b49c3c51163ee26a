"""Whether a task's package holds what the contract asks for, told from the text of its modules.

Nothing is imported, since `task.py` would bring torch. Ours are checked by mypy, see `modelmill/tasks/shipped.py`.
"""

import ast
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from modelmill.core.errors import UserError
from modelmill.recipe import task_packages
from modelmill.tasks import contract

PAGE = "docs/add-a-task.md"


@cache
def check(task: str) -> None:
    """Check the package of a task from outside.

    Raises:
        UserError: A module, a function, a parameter or a name is missing.
    """
    if not task_packages.is_ours(task):
        check_folder(task, task_packages.folder(task))


def check_folder(task: str, folder: Path) -> None:
    """Check the modules of a package.

    Args:
        task: The task's name.
        folder: The package's folder.

    Raises:
        UserError: A module, a function, a parameter or a name is missing.
    """
    parts = [*contract.FUNCTIONS, *(name for name in ("cost", "demo") if (folder / f"{name}.py").is_file())]
    for part in parts:
        if problem := _problem(part, folder / f"{part}.py"):
            raise UserError(f"task {task}: {problem}; see {PAGE}")


def _problem(part: str, file: Path) -> str:
    """Say what is wrong with a part, if anything is."""
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except FileNotFoundError:
        return f"{file.name} is missing from {file.parent}"
    except (OSError, SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
        return f"{file.name}{line}: cannot be read: {error.msg if isinstance(error, SyntaxError) else error}"
    defined = _defined(tree)
    for function, parameters in contract.FUNCTIONS.get(part, {}).items():
        if function not in defined:
            return f"{file.name}: no function {_signature(function, parameters)}"
    for name in contract.NAMES.get(part, ()):
        if name not in defined:
            return f"{file.name}: no {name}"
    for function, parameters in {
        **contract.FUNCTIONS.get(part, {}),
        **contract.OPTIONAL_FUNCTIONS.get(part, {}),
    }.items():
        node = defined.get(function)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _takes(node.args, len(parameters)):
            return f"{file.name} line {node.lineno}: {function} must take {_signature('', parameters)}"
    if part == "serve" and not _calls_set_model(tree):
        return f"{file.name}: no call of mlflow.models.set_model"
    return ""


def _defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """Collect the names that a module defines or imports at its top level, also below `if` and `try`."""
    names: dict[str, ast.stmt] = {}
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {one.id: node for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(one.asname or one.name): node for one in node.names}
        elif isinstance(node, ast.If | ast.Try):
            waiting += [*node.body, *node.orelse]
    return names


def _takes(arguments: ast.arguments, count: int) -> bool:
    """Whether a function can be called with so many positional arguments and no others."""
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = len(positional) - len(arguments.defaults)
    is_bare = all(default is not None for default in arguments.kw_defaults)
    return is_bare and needed <= count and (count <= len(positional) or arguments.vararg is not None)


def _calls_set_model(tree: ast.Module) -> bool:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(
        (isinstance(called, ast.Name) and called.id == "set_model")
        or (isinstance(called, ast.Attribute) and called.attr == "set_model")
        for called in calls
    )


def _signature(function: str, parameters: Sequence[str]) -> str:
    return f"{function}({', '.join(parameters)})"
