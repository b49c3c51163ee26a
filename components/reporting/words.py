"""Values in words and numbers that people read."""

import json
import math
import re
from itertools import zip_longest
from typing import Any

from modelmill.core import units

MOST_CHARACTERS, MOST_BAD_VALUES = 200, 5


def of_name(name: str) -> str:
    """Return a name in words: `fine_tuning` -> `Fine tuning`."""
    text = str(name).replace("_", " ")
    return text[:1].upper() + text[1:]


def of_number(value: Any) -> str:
    """Return whole numbers with thousands separated, others to six digits; any other value as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return of_value(value)
    if isinstance(value, int) or (math.isfinite(value) and value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.6g}"


def of_metric(name: str, value: Any) -> tuple[str, str]:
    """Return label and text of a step's metric; the end of its name tells the unit.

    `peak_memory_bytes`, 934141952 -> `Peak memory`, `890.9 MiB`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return of_name(name), of_value(value)
    if name == "mfu":
        return "MFU", of_percent(value)
    if name == "model_flops":
        return "Model FLOPs", units.prefixed(value, "FLOP")
    if name == "model_flops_per_second":
        return "Speed in FLOPs", units.prefixed(value, "FLOP/s")
    stem, _, unit = name.rpartition("_")
    if unit == "share" and stem:
        return of_name(stem), of_percent(value)
    if name.endswith("_per_second"):
        return "Speed", f"{of_number(round(value, 1 if value < 100 else None))} {name.removesuffix('_per_second')}/s"
    if unit == "joules":
        return of_name(stem), units.prefixed(value, "J")
    if unit == "seconds":
        return of_name(f"{stem} time"), units.of_seconds(value)
    if unit == "bytes" and stem:
        return of_name(stem), units.of_bytes(value)
    return of_name(name), of_number(value)


def of_percent(share: float) -> str:
    """Return a share from 0 to 1 in percent: `41.0 %`, with three digits where it is small."""
    return f"{100 * share:.1f} %" if abs(share) >= 0.01 else f"{100 * share:.3g} %"


def of_value(value: Any) -> str:
    """Return any JSON value on one line, cut where it is long."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return of_number(value)
    if isinstance(value, list) and value and all(isinstance(item, str | int | float) for item in value):
        return cut(", ".join(map(str, value)))
    if isinstance(value, dict) and value and all(isinstance(item, str) for item in value.values()):
        return cut(", ".join(f"{name} {item}" for name, item in value.items()))
    return cut(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def cut(text: str) -> str:
    """Return the text, cut where it is long."""
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"


def of_expectation(result: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the contract's table from a result of Great Expectations."""
    config = result.get("expectation_config") or {}
    kwargs = dict(config.get("kwargs") or {})
    kwargs.pop("batch_id", None)
    columns = [kwargs.pop(key) for key in ("column", "column_A", "column_B") if key in kwargs]
    columns += kwargs.pop("column_list", None) or []
    observed = result.get("result") or {}
    return {
        "passed": bool(result.get("success")),
        "column": ", ".join(map(str, columns)),
        "expectation": re.sub("^expect_(column_|table_)?", "", str(config.get("type"))).replace("_", " "),
        "arguments": ", ".join(f"{k} {of_value(v)}" for k, v in _bounds_in_order(kwargs) if v is not None),
        "observed": _observed(observed) or _exception(result.get("exception_info") or {}),
        "bad": _bad_values(observed),
    }


def _bounds_in_order(kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the bounds with the least value first; a stored result has its keys in alphabetical order."""
    return sorted(kwargs.items(), key=lambda item: not item[0].startswith("min_"))


def _observed(result: dict[str, Any]) -> str:
    if "unexpected_count" in result and result.get("element_count") is None:
        # Such an expectation compares sets of values, not rows.
        return (
            f"{of_number(result['unexpected_count'])} unexpected, {of_number(result.get('missing_count', 0))} missing"
        )
    if "unexpected_count" in result:
        percent = result.get("unexpected_percent")
        share = f" ({percent:.3g} %)" if isinstance(percent, int | float) else ""
        return f"{of_number(result['unexpected_count'])} of {of_number(result['element_count'])} bad{share}"
    return of_value(result["observed_value"]) if "observed_value" in result else ""


def _exception(info: dict[str, Any]) -> str:
    """Return the first message of an exception; Great Expectations nests one report a metric where several raised."""
    reports = [info, *(value for value in info.values() if isinstance(value, dict))]
    return next((cut(str(r["exception_message"])) for r in reports if r.get("exception_message")), "")


def _bad_values(result: dict[str, Any]) -> list[str]:
    """Return the first unexpected values, each with its position in the data where that is known."""
    values = (result.get("partial_unexpected_list") or [])[:MOST_BAD_VALUES]
    places = (result.get("partial_unexpected_index_list") or [])[: len(values)]
    return [of_value(v) if place is None else f"{of_value(v)} at {place}" for v, place in zip_longest(values, places)]
