"""Python's standard library: its code without docstrings, and its docstrings."""

import ast
import inspect
import json
import warnings
from collections.abc import Iterator

from components.common import standard_library
from components.common.digest import fraction

# Shorter ones say next to nothing, and many of them the same.
MIN_DOCSTRING = 40
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def char_rnn(shards: int) -> dict[str, bytes]:
    """A row for each source file and each docstring; both have the file's path, by which they are split, and their
    shard is drawn by it. Of equal docstrings the first is kept.
    """
    rows: list[list[str]] = [[] for _ in range(shards)]
    met: set[str] = set()
    for path, source in standard_library.sources().items():
        code, docstrings = taken_apart(source)
        new = [text for text in dict.fromkeys(docstrings) if text not in met and len(text) >= MIN_DOCSTRING]
        met.update(new)
        own = rows[int(fraction(path) * shards)]
        own += [_row(path, "code", code)] if code.strip() else []
        own += [_row(path, "docstring", text) for text in new]
    return {f"stdlib-{i:05d}.jsonl": "".join(lines).encode() for i, lines in enumerate(rows) if lines}


def taken_apart(source: str) -> tuple[str, list[str]]:
    """A file without the lines of its docstrings, and these, indented as far as their first line; the file as it is,
    and none, where this Python cannot parse it.
    """
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
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


def _row(path: str, kind: str, text: str) -> str:
    row = {"path": path, "kind": kind, "text": text, "bytes": len(text.encode())}
    return json.dumps(row, ensure_ascii=False) + "\n"


DEMOS = {"char-rnn": char_rnn}
