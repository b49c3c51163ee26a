"""The columns that an expectation's row condition names."""

import ast
import re
from typing import Any

from modelmill.core.errors import UserError

_QUOTED = re.compile(r"`([^`]+)`")
# Great Expectations' own conditions, such as col("age") > 5.
_COL = re.compile(r"""\bcol\(\s*["']([^"']+)["']\s*\)""")
# What pandas calls the rows' numbers.
_INDEX = "index"


def columns_of(condition: Any, where: str) -> list[str]:
    """Return the columns that a row condition names.

    Args:
        condition: A text as pandas' `query` takes it or with Great Expectations' `col`, its condition as JSON, or None.
        where: The expectation, for errors.

    Raises:
        UserError: A text is no such condition.
    """
    if isinstance(condition, dict) and "pass_through_filter" in condition:  # so Great Expectations keeps a text
        condition = condition["pass_through_filter"]
    if not isinstance(condition, str):
        return _named(condition)
    if _COL.search(condition):
        return _COL.findall(condition)
    quoted = _QUOTED.findall(condition)
    places = iter(range(len(quoted)))
    try:
        tree = ast.parse(_QUOTED.sub(lambda _: f"_quoted_{next(places)}_", condition.strip()), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{where}: row_condition {condition!r:.200} is no condition ({error})") from None
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}  # such as abs
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in called]
    return [*quoted, *(name for name in names if not name.startswith("_quoted_") and name != _INDEX)]


def _named(condition: Any) -> list[str]:
    """Return the columns in Great Expectations' JSON of a condition."""
    if isinstance(condition, list):
        return [name for one in condition for name in _named(one)]
    if not isinstance(condition, dict):
        return []
    column = condition.get("column")
    own = [column["name"]] if isinstance(column, dict) and isinstance(column.get("name"), str) else []
    return own + [name for key, value in condition.items() if key != "column" for name in _named(value)]
