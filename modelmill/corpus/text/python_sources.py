"""Python's sources on this machine, the standard library's and those of installed packages: text to learn from."""

import ast
import importlib.util
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from modelmill.core.errors import UserError

# Installed packages differ from machine to machine; tests are large and unlike the code that people write.
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
# How this Python was built, with the paths of the machine that built it.
_BUILD_SETTINGS = ("_sysconfigdata", "config-")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def standard_library() -> dict[str, str]:
    """The text of each source file by its POSIX path, in order; without those that are empty or not UTF-8.

    Raises:
        UserError: there are none on this machine.
    """
    library = Path(sysconfig.get_path("stdlib"))
    found = _texts(library, library)
    if not found:
        raise UserError(f"{library}: no sources of Python's standard library; install them or use data of your own")
    return found


def package(name: str, extra: str) -> dict[str, str]:
    """The same of an installed package, whose paths start with its name.

    Raises:
        UserError: it is not installed, as `extra` of this distribution would.
    """
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise UserError(f"{name}: not installed, and its sources are wanted: pip install 'modelmill[{extra}]'")
    folder = Path(found.origin).parent
    return _texts(folder, folder.parent)


def _texts(folder: Path, root: Path) -> dict[str, str]:
    texts = {file.relative_to(root).as_posix(): _text(file) for file in _files(folder)}
    return {path: text for path, text in texts.items() if text is not None and text.strip()}


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).parts
        if file.is_file() and not _SKIPPED_FOLDERS & set(parts[:-1]) and not parts[0].startswith(_BUILD_SETTINGS):
            yield file


def _text(file: Path) -> str | None:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def parsed(source: str) -> tuple[str, ast.Module | None]:
    """A file with its lines ended by newlines alone, and its tree; none where this Python cannot parse it."""
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return text, ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text, None


def taken_apart(source: str) -> tuple[str, list[str]]:
    """A file without the lines of its docstrings, and these, indented as far as their first line; the file as it is,
    and none, where this Python cannot parse it.
    """
    text, tree = parsed(source)
    if tree is None:
        return text, []
    lines: list[str | None] = list(text.split("\n"))
    docstrings = []
    for node in _documented(tree):
        first = node.body[0]
        docstrings.append(inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip())
        lines[first.lineno - 1 : first.end_lineno] = [None] * ((first.end_lineno or first.lineno) - first.lineno + 1)
    return "\n".join(line for line in lines if line is not None), docstrings


def _documented(tree: ast.Module) -> Iterator[Documented]:
    """What has a docstring on lines of its own, in the order of these."""
    found = [node for node in ast.walk(tree) if isinstance(node, Documented) and ast.get_docstring(node, clean=False)]
    found = [node for node in found if isinstance(node, ast.Module) or node.body[0].lineno > node.lineno]
    yield from sorted(found, key=lambda node: node.body[0].lineno)
