"""Pairs for fine-tuning from Python source: a function without its docstring, and the docstring."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from modelmill.corpus.text.python_sources import parsed

MIN_DOCSTRING = 10


class Pair(NamedTuple):
    """A prompt and its response."""

    prompt: str
    response: str


def python_docstrings(source: str) -> list[Pair]:
    """Return a pair for every documented function of a file, in order; none where this Python cannot parse the file."""
    text, tree = parsed(source)
    if tree is None:
        return []
    lines = text.split("\n")
    return [pair for function in _functions(tree) if (pair := _pair(function, lines))]


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    yield from sorted(functions, key=lambda node: node.lineno)


def _pair(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> Pair | None:
    docstring = ast.get_docstring(function, clean=False)
    if docstring is None or len(function.body) < 2:
        return None
    first, second = function.body[0], function.body[1]
    shares_a_line = first.lineno == function.lineno or second.lineno <= (first.end_lineno or first.lineno)
    cleaned = inspect.cleandoc(docstring).strip()
    if shares_a_line or len(cleaned) < MIN_DOCSTRING:
        return None
    kept = lines[function.lineno - 1 : first.lineno - 1] + lines[first.end_lineno : function.end_lineno]
    return Pair(prompt=textwrap.dedent("\n".join(kept)) + "\n", response=cleaned)
