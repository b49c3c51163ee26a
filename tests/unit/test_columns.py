"""The types of columns: one schema for all shards, in which every value stays what it is."""

from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmill.core.errors import UserError
from modelmill.data import columns
from modelmill.data.reading import delimited
from modelmill.data.reading.blocks import TextBlock
from modelmill.data.reading.csv_types import as_type, kind_of
from modelmill.data.shard import Shard

HUGE = 2**53 + 1


def shards_of(*tables: dict[str, pa.Array]) -> list[tuple[Shard, pa.Schema]]:
    return [
        (Shard(f"{i}.csv", f"/data/{i}.csv", 1, "", "csv", None), columns.noted(pa.table(table)))
        for i, table in enumerate(tables)
    ]


def types_of(*tables: dict[str, pa.Array]) -> dict[str, pa.DataType]:
    schema = columns.resolve(shards_of(*tables))
    return dict(zip(schema.names, schema.types, strict=True))


def csv(*texts: str) -> pa.Table:
    """A CSV file of one column, `v`."""
    column = pa.chunked_array([pa.array(texts)])
    field = kind_of(column).field("v")
    return pa.Table.from_arrays([as_type(column, field.type)], schema=pa.schema([field]))


def csv_type(*files: tuple[str, ...], is_strict: bool = False) -> pa.DataType:
    shards = [(Shard("a.csv", "/a.csv", 1, "", "csv", None), columns.noted(csv(*texts))) for texts in files]
    return columns.resolve(shards, is_strict).field("v").type


def test_schemas_unite_their_columns_and_promote_integers_and_nulls() -> None:
    ints, none, floats = pa.array([1]), pa.array([None]), pa.array([1.5])
    found = types_of({"a": ints, "b": none}, {"a": floats}, {"b": pa.array(["x"]), "c": pa.array([True])})
    assert found == {"a": pa.float64(), "b": pa.string(), "c": pa.bool_()}


def test_conflicting_schemas_are_refused_with_column_types_and_shard() -> None:
    ints, none = pa.array([1]), pa.array([None])
    with pytest.raises(UserError, match=r"^/data/1\.csv: column 'a' is string, in the shards before it int64"):
        columns.resolve(shards_of({"b": none, "a": ints}, {"b": ints, "a": pa.array(["x"])}))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_large_integers_beside_fractions_are_decimals_whatever_comes_first(order: tuple[int, ...]) -> None:
    tables = [{"v": pa.array([HUGE])}, {"v": pa.array([0.5])}, {"v": pa.array([1])}]
    assert types_of(*(tables[place] for place in order)) == {"v": columns.DECIMAL}
    schema = pa.schema([("v", columns.DECIMAL)])
    found = [columns.conform(pa.table(table), schema, "a")["v"].to_pylist() for table in tables]
    assert found == [[Decimal(HUGE)], [Decimal("0.5")], [Decimal(1)]]


def test_what_a_decimal_cannot_hold_is_refused_with_the_column() -> None:
    with pytest.raises(UserError, match=r"^a: column 'v' is double, and not every value of it is one of decimal128"):
        columns.conform(pa.table({"v": [1e-30]}), pa.schema([("v", columns.DECIMAL)]), "a")


def test_decimals_that_floating_point_would_round_are_refused_beside_fractions() -> None:
    exact = pa.table({"v": pa.array([Decimal("0.10"), Decimal("2.50")])})
    assert columns.conform(exact, pa.schema([("v", pa.float64())]), "a")["v"].to_pylist() == [0.1, 2.5]
    long = pa.table({"v": pa.array([Decimal("12345678901234567.89")])})
    with pytest.raises(UserError, match="a: column 'v' is decimal128"):
        columns.conform(long, pa.schema([("v", pa.float64())]), "a")


@pytest.mark.parametrize(
    "text", ["007", "+7", ".e5", ".", "-", "1e5", "12E3", "0x1F", "true", "False", "2024-02-29", "12:30", "9" * 20]
)
def test_a_text_that_would_be_another_number_stays_text(text: str) -> None:
    table = csv(text, "7")
    assert table["v"].to_pylist() == [text, "7"]
    assert csv_type((text,), ("7",)) == pa.string()


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["1", "", "-7"], [1, None, -7]),
        (["1", "NA", "2"], [1, None, 2]),
        (["1", "2.50", "1e-05", "1.5E+3", ".5", "-0"], [1.0, 2.5, 1e-05, 1500.0, 0.5, -0.0]),
        (["inf", "nan", "1"], [float("inf"), None, 1.0]),
        ([" 5", "6 "], [5, 6]),
        (["NA", "DE"], ["NA", "DE"]),
        (["NA", "NA"], ["NA", "NA"]),
        ([str(HUGE), "0.5"], [Decimal(HUGE), Decimal("0.5")]),
    ],
)
def test_a_column_of_numbers_is_one(texts: list[str], values: list[object]) -> None:
    assert csv(*texts)["v"].to_pylist() == values


def test_the_types_of_all_files_are_those_of_one_file_with_all_rows() -> None:
    assert csv_type(("1", "2"), ("2.5",)) == pa.float64()
    assert csv_type(("NA",), ("1",)) == pa.int64()
    assert csv_type(("NA",), ("DE",)) == pa.string()
    assert csv_type(("NA",), ("",)) == pa.string()
    assert csv_type(("1",), ("x",)) == pa.string()


def test_words_among_numbers_are_a_mistake_where_bad_shards_are_left_out_and_codes_are_not() -> None:
    with pytest.raises(UserError, match="is string, in the shards before it int64"):
        csv_type(("1",), ("wide",), is_strict=True)
    assert csv_type(("10001",), ("00501",), is_strict=True) == pa.string()


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1).map(str), st.floats(allow_nan=False).map(repr)), min_size=1))
def test_numbers_as_python_writes_them_are_read_as_what_they_are_or_refused(texts: list[str]) -> None:
    try:
        values = csv(*texts)["v"].to_pylist()
    except pa.ArrowInvalid:
        assert any(abs(float(text)) > 2**53 for text in texts)
        return
    for text, value in zip(texts, values, strict=True):
        assert value == text or value == (float(text) if isinstance(value, float) else Decimal(text))


@pytest.mark.parametrize(
    "blocks", [["note,n\n", '"a\n\nb",1\n', "\n", '"c\nd",x\n'], ['note,n\n"a\n\nb",1\n\n"c\nd",x\n']]
)
def test_a_value_of_another_type_than_the_chosen_one_is_named_with_its_line(blocks: list[str]) -> None:
    def start() -> Iterator[TextBlock]:
        first = 1
        for text in blocks:
            yield TextBlock(first, text)
            first += text.count("\n")

    with pytest.raises(UserError, match=r"^a\.csv:6: column 'n': .*'x'"):
        list(delimited.tables(start, "a.csv", {"n": pa.int64()}))
