"""Python's sources on this machine, of the standard library and of installed packages, as text to learn from."""

import ast
import importlib.util
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from modelmill.core.errors import UserError

# Installed packages differ between machines; tests are large and unlike other code.
_SKIPPED_FOLDERS = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
# Files about how this Python was built, with paths of the machine that built it.
_BUILD_SETTINGS = ("_sysconfigdata", "config-")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def standard_library() -> dict[str, str]:
    """Return the text of each source file by its POSIX path, in order, without files that are empty or not UTF-8.

    Raises:
        UserError: There are none on this machine.
    """
    library = Path(sysconfig.get_path("stdlib"))
    texts = _texts(library, library)
    if not texts:
        raise UserError(f"{library}: no sources of Python's standard library; install them or use data of your own")
    return texts


def package(name: str, extra: str) -> dict[str, str]:
    """Return the texts of an installed package's source files, by paths that begin with its name.

    Args:
        name: The package.
        extra: The extra of this distribution that installs it, for the message.

    Raises:
        UserError: It is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError(f"{name}: not installed, and its sources are wanted: pip install 'modelmill[{extra}]'")
    folder = Path(spec.origin).parent
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
    """Return a file with newlines as the only line ends, and its tree; None where this Python cannot parse it."""
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return text, ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text, None


def taken_apart(source: str) -> tuple[str, list[str]]:
    """Return a file without the lines of its docstrings, and the docstrings, indented as far as their first line.

    Where this Python cannot parse the file, it is returned as it is, with no docstrings.
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
    """Yield the nodes with docstrings on lines of their own, in order."""
    documented = [
        node for node in ast.walk(tree) if isinstance(node, Documented) and ast.get_docstring(node, clean=False)
    ]
    documented = [node for node in documented if isinstance(node, ast.Module) or node.body[0].lineno > node.lineno]
    yield from sorted(documented, key=lambda node: node.body[0].lineno)
