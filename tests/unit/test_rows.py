"""Rows that a model is asked: CSV as it is read for the model's columns."""

import io

import pytest

from modelmill.core.errors import UserError
from modelmill.pipelines.models import rows
from modelmill.pipelines.models.package_check import Column

COLUMNS = [Column("width", "double"), Column("height", "double")]


def read(text: bytes, columns: list[Column] = COLUMNS) -> list[rows.Row]:
    return list(rows.read(io.BytesIO(text), "rows.csv", columns))


def test_a_cell_is_what_its_column_says() -> None:
    kinds = {"count": "long", "share": "double", "sure": "boolean", "name": "string", "any": "tensor"}
    columns = [Column(name, kind) for name, kind in kinds.items()]
    text = '\ufeffname,other,any,sure,share,count\r\n7,x,1.5,TRUE,2,3\r\n\r\n"a\u2028\nb",,y,false,1e-3,-4.0\r\n'
    assert read(text.encode(), columns) == [
        {"count": 3, "share": 2, "sure": True, "name": "7", "any": 1.5},
        {"count": -4, "share": 0.001, "sure": False, "name": "a\u2028\nb", "any": "y"},
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["width,height", "1,2", "1"], "line 3: it has not as many values as the header"),
        (["width,height", "1,2,3"], "line 2: it has not as many values as the header"),
        (["width,height", "1,", "1,2"], "line 2: 'height' is \"\", not a number"),
        (["width,height", "1,nan"], "line 2: 'height' is \"nan\", not a number"),
        (["width,height", "1,1_000"], "line 2: 'height' is \"1_000\", not a number"),
        (["width,height", "1,\u0661\u0662"], "line 2: 'height' is .*, not a number"),
        (["width", "1"], "line 2: no 'height' in it"),
        (["width,height", '1,"2'], "cannot be read as CSV in UTF-8"),
        (["width,height"], "no rows in it"),
        (["width,height,width", "1,2,3"], "line 1: 'width' is there twice"),
    ],
)
def test_csv_that_cannot_be_answered_is_named(lines: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        rows.count(iter(read("\n".join(lines).encode())), "rows.csv")
    assert str(refused.value).startswith("rows.csv: ")


def test_what_is_not_utf_8_is_no_csv() -> None:
    with pytest.raises(UserError, match="cannot be read as CSV in UTF-8"):
        read(b"width,height\n1,\xff\n")
