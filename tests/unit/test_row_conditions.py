"""The columns that a row condition names."""

from typing import Any

import pytest

from modelmill.components.data_validation.row_conditions import columns_of
from modelmill.core.errors import UserError


@pytest.mark.parametrize(
    ("condition", "columns"),
    [
        (None, []),
        ("k < 5 and not (x == 'kk')", ["k", "x"]),
        ("`a b` > 1 & index < 3", ["a b"]),
        ("abs(x) > 1 or s.str.len() > 2", ["x", "s"]),
        ("k in [1, 2] and flag == True", ["k", "flag"]),
        ('col("age") > 5', ["age"]),
        ({"type": "pass_through", "pass_through_filter": "k < 5"}, ["k"]),
        ({"type": "and", "conditions": [{"column": {"name": "a"}, "operator": ">", "parameter": 1}]}, ["a"]),
    ],
)
def test_a_condition_names_its_columns_and_not_its_functions(condition: Any, columns: list[str]) -> None:
    assert sorted(columns_of(condition, "here")) == sorted(columns)


@pytest.mark.parametrize("condition", ["k <", "k < @limit", "(" * 500, "import os"])
def test_what_is_no_condition_is_one_line(condition: str) -> None:
    with pytest.raises(UserError, match=r"^here: row_condition .* is no condition"):
        columns_of(condition, "here")
