"""A package for a new kind of model, from the templates in `task_template`: it runs as it is, and is to be changed."""

import importlib.util
import keyword
import re
from pathlib import Path
from string import Template

from modelmill.core.errors import UserError
from modelmill.recipe import task_packages

_TEMPLATES = Path(__file__).with_name("task_template")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# Modules of the package, each from the template of its name.
_MODULES = ("recipe", "preprocess", "network", "task", "evaluate", "register", "serve", "cost", "demo")
# Beside the recipes of a checkout, for editors.
_SCHEMA = "# yaml-language-server: $schema=schema.json\n"
# What a checkout of Modelmill has, and no other folder.
_MARK = Path("modelmill", "tasks", "contract.py")


def write(name: str, into: Path) -> list[Path]:
    """Write a package that runs, with its recipe, suite and test.

    In a checkout of Modelmill the files go where those of the other tasks are; elsewhere into a distribution of its
    own, a folder of the task's name.

    Args:
        name: The task's name.
        into: The folder of the checkout or of the new distribution.

    Returns:
        The files.

    Raises:
        UserError: The name is not one, or is taken; a file is there already; or the folder cannot be written.
    """
    is_inside = (into / _MARK).is_file()
    _require_free(name, is_inside)
    files = _inside(name, into) if is_inside else _outside(name, into / name)
    if taken := [file for file in files if file.exists()]:
        raise UserError(f"{taken[0]}: is there already; nothing was written, choose another name or remove it")
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    except OSError as error:
        raise UserError(f"{into}: cannot be written ({error.strerror})") from error
    return list(files)


def next_commands(name: str, into: Path) -> list[str]:
    """Return the commands that try the new package out.

    Args:
        name: The task's name.
        into: As given to `write`.
    """
    is_inside = (into / _MARK).is_file()
    begin = [] if is_inside else [f"cd {into / name}", "pip install -e ."]
    test = f"tests/unit/test_{name}.py" if is_inside else f"tests/test_{name}.py"
    return [*begin, f"pytest {test}", f"modelmill demo-data {name}", f"modelmill run recipes/{name}.yaml"]


def _require_free(name: str, is_inside: bool) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UserError(f"{name}: is no name for a task; use lower-case letters, digits and single _, as in my_task")
    if name in task_packages.packages():
        raise UserError(f"{name}: there is a task of this name already; choose another")
    if not is_inside and importlib.util.find_spec(name) is not None:
        raise UserError(f"{name}: there is a Python package of this name already; choose another")


def _inside(name: str, root: Path) -> dict[Path, str]:
    package = root / "modelmill" / "tasks" / name
    said = {"package": f"{task_packages.OURS}.{name}", "parents": "2", "install": "pip install -e .", "schema": _SCHEMA}
    return {
        **_package(name, package, said),
        package / "README.md": _filled("README.md", name, said),
        root / "recipes" / f"{name}.yaml": _filled("recipe.yaml", name, said),
        root / "recipes" / "suites" / f"{name}.json": _filled("suite.json", name, said),
        root / "tests" / "unit" / f"test_{name}.py": _filled("test.py", name, said),
    }


def _outside(name: str, root: Path) -> dict[Path, str]:
    said = {"package": name, "parents": "1", "install": "pip install -e .", "schema": ""}
    return {
        root / "pyproject.toml": _filled("pyproject.toml", name, said),
        root / "README.md": _filled("README.md", name, said),
        **_package(name, root / name, said),
        root / "recipes" / f"{name}.yaml": _filled("recipe.yaml", name, said),
        root / "recipes" / "suites" / f"{name}.json": _filled("suite.json", name, said),
        root / "tests" / f"test_{name}.py": _filled("test.py", name, said),
    }


def _package(name: str, folder: Path, said: dict[str, str]) -> dict[Path, str]:
    modules = {folder / f"{module}.py": _filled(f"{module}.py", name, said) for module in _MODULES}
    return {folder / "__init__.py": _filled("init.py", name, said), **modules}


def _filled(template: str, name: str, said: dict[str, str]) -> str:
    words = name.split("_")
    names = {
        "task": name,
        "distribution": name.replace("_", "-"),
        "Name": "".join(word.capitalize() for word in words),
        "Title": " ".join([words[0].capitalize(), *words[1:]]),
    }
    text = Template((_TEMPLATES / f"{template}.template").read_text("utf-8")).substitute(names | said)
    return _grouped(text) if template.endswith(".py") and said["package"] != name else text


def _grouped(source: str) -> str:
    """Sort a module's imports of Modelmill into one group: it becomes part of Modelmill itself."""
    head, *imports_and_rest = re.split(r"^(?=from modelmill[ .])", source, flags=re.MULTILINE)
    if not imports_and_rest:
        return source
    *lines, last = imports_and_rest
    line, _, rest = last.partition("\n")
    imports = sorted([*(one.strip() for one in lines), line], key=lambda one: one.split()[1].split("."))
    return "\n".join([f"{head.rstrip()}\n", *imports, rest])
