"""Great Expectations as the judge: a suite that is checked first, then held against every row."""

import difflib
import math
import re
import warnings
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.compatibility.pydantic import ValidationError
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.exceptions import GreatExpectationsError
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.registry import (
    get_expectation_impl,
    list_registered_expectation_implementations,
)

from components.common.errors import UserError

SAMPLES = 20
_MAX_TEXT = 300
_KEYS = {"type", "kwargs", "meta", "id", "severity", "notes", "description"}
_COLUMN_KWARGS = ("column", "column_A", "column_B", "column_list")
_ABOUT_PRESENCE = "expect_column_to_exist"  # a column that is missing is this one's verdict, not a mistake
_NEEDS_SQL = "unexpected_rows_expectation"


def check_suite(suite: dict[str, Any], columns: list[str]) -> gx.ExpectationSuite:
    """The suite, if every expectation is known, has the arguments it needs and speaks of columns that are there.

    Raises:
        UserError: naming the expectation by its place in the suite, and the nearest name for an unknown one.
    """
    entries = suite.get("expectations")
    if not isinstance(entries, list) or not entries:
        raise UserError("data.suite: the suite has no expectations; any data would pass")
    expectations = [_check(entry, f"data.suite: expectations[{i}]", columns) for i, entry in enumerate(entries)]
    for place, expectation in enumerate(expectations):
        expectation.id = str(place)  # results come in another order, and are put back into the suite's by this
    name = suite.get("name")
    checked = gx.ExpectationSuite(name=name if isinstance(name, str) and name else "suite")
    checked.expectations = expectations
    return checked


def validate(suite: gx.ExpectationSuite, table: pa.Table) -> dict[str, Any]:
    """Great Expectations' own result for all rows of the table, as strict JSON without times or ids.

    An expectation that cannot be computed on this data has failed, with its exception's message. Where rows are
    unexpected, the first 20 of them are listed, by their position in the table.

    Raises:
        UserError: Great Expectations refuses the suite.
    """
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("modelmill").add_dataframe_asset("data")
    batch = asset.add_batch_definition_whole_dataframe("all rows").get_batch({"dataframe": _frame(table)})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas', about the suite's regular expressions
            outcome = batch.validate(
                suite, result_format={"result_format": "SUMMARY", "partial_unexpected_count": SAMPLES}
            )
    except GreatExpectationsError as error:
        raise UserError(f"data.suite: Great Expectations cannot use the suite: {error}") from error
    return _reproducible(outcome.to_json_dict())


def _check(entry: Any, where: str, columns: list[str]) -> Expectation:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise UserError(f'{where}: an expectation is an object with "type" and "kwargs"')
    where = f"{where} {entry['type']}"
    known = list_registered_expectation_implementations()
    if entry["type"] not in known:
        raise UserError(f"{where}: no such expectation{_nearest(entry['type'], known)}")
    if unknown := set(entry) - _KEYS:
        raise UserError(f"{where}: unknown key {min(unknown)!r}; known: {', '.join(sorted(_KEYS))}")
    if entry["type"] == _NEEDS_SQL:
        raise UserError(f"{where}: needs a database, the data is files; say it with another expectation")
    kwargs = entry.get("kwargs", {})
    if not isinstance(kwargs, dict):
        raise UserError(f"{where}: kwargs is an object, this is {type(kwargs).__name__}")
    expectation = _build(entry, kwargs, where)
    _check_patterns(kwargs, where)
    if entry["type"] != _ABOUT_PRESENCE:
        _check_columns(kwargs, where, columns)
    return expectation


def _build(entry: dict[str, Any], kwargs: dict[str, Any], where: str) -> Expectation:
    try:
        return ExpectationConfiguration(**(entry | {"kwargs": dict(kwargs)})).to_domain_obj()
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part != "__root__")
        fields = [f for f in get_expectation_impl(entry["type"]).__fields__ if f not in Expectation.__fields__]
        near = _nearest(key, fields) if first["type"] == "value_error.extra" else ""
        raise UserError(f"{where}: kwargs.{key}: {first['msg']}{near}".replace("kwargs.:", "kwargs:")) from None
    except (GreatExpectationsError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {error}") from None


def _check_patterns(kwargs: dict[str, Any], where: str) -> None:
    patterns = [kwargs["regex"]] if "regex" in kwargs else kwargs.get("regex_list", [])
    for pattern in patterns if isinstance(patterns, list) else []:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise UserError(f"{where}: kwargs: {pattern!r} is not a regular expression ({error})") from None


def _check_columns(kwargs: dict[str, Any], where: str, columns: list[str]) -> None:
    """Names are compared exactly; Great Expectations ignores their case and would take the first that fits."""
    values = [kwargs[key] for key in _COLUMN_KWARGS if key in kwargs]
    for name in [n for value in values for n in (value if isinstance(value, list) else [value])]:
        if name not in columns:
            raise UserError(f"{where}: suite names column {name!r} that is not there; columns are {', '.join(columns)}")
        twins = [c for c in columns if c.casefold() == name.casefold()]
        if len(twins) > 1:
            raise UserError(f"{where}: columns {', '.join(twins)} differ only by case, rename all but one")


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _frame(table: pa.Table) -> pd.DataFrame:
    """The table for Great Expectations; integers with nulls stay integers, floating point would round large ones."""
    frame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_integer(field.type) and table[field.name].null_count:
            frame[field.name] = table[field.name].to_pandas(types_mapper=_nullable_integer)
    return frame


def _nullable_integer(type_: pa.DataType) -> Any:
    return pd.api.types.pandas_dtype(str(type_).replace("uint", "UInt").replace("int", "Int"))


def _reproducible(result: dict[str, Any]) -> dict[str, Any]:
    """Without what differs between equal runs or machines: times, ids, fingerprints, tracebacks."""
    result["results"].sort(key=lambda one: int(one["expectation_config"].pop("id")))
    result["meta"] = {"great_expectations_version": gx.__version__}
    for one in result["results"]:
        one["expectation_config"]["kwargs"].pop("batch_id", None)
        message = _message(one["exception_info"])
        one["exception_info"] = {
            "raised_exception": message is not None,
            "exception_message": message,
            "exception_traceback": None,
        }
        one["result"] = _plain(one["result"], _MAX_TEXT)
    plain: dict[str, Any] = _plain(result, None)
    return plain


def _message(info: dict[str, Any]) -> str | None:
    """What was raised: either said directly or once for each metric that could not be computed."""
    if info.get("raised_exception") is False:
        return None
    said = [info] if "exception_message" in info else list(info.values())
    messages = [str(m["exception_message"]) for m in said if isinstance(m, dict) and m.get("exception_message")]
    return (messages or ["it could not be computed"])[0][:_MAX_TEXT]


def _plain(value: Any, max_text: int | None) -> Any:
    """JSON that any parser reads: NaN, infinity and missing values are null; texts of the data are cut."""
    if isinstance(value, dict):
        return {str(k): _plain(v, max_text) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, max_text) for v in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist(), max_text)
    if value is None or value is pd.NA:
        return None
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    text = str(value)
    return text if max_text is None or len(text) <= max_text else text[: max_text - 3] + "..."
