"""The report's parts: axes, curves and the wording of values."""

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmill.components.reporting import words
from modelmill.components.reporting.charts import MOST_POINTS, Series, line_chart, points_of, powers_of_ten, ticks
from modelmill.components.reporting.outcome import explain_kept, explain_missed
from modelmill.core import units

SVG = "{http://www.w3.org/2000/svg}"


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_enclose_the_values_at_even_round_steps(low: float, span: float) -> None:
    marks = ticks(low, low + span)
    slack = span * 1e-6 + abs(low) * 1e-9
    assert marks[0] <= low + slack and marks[-1] >= low + span - slack
    assert 2 <= len(marks) <= 9


@given(st.floats(1e-12, 1e3), st.floats(1.1, 1e12))
def test_powers_of_ten_enclose_the_values_and_are_few(low: float, ratio: float) -> None:
    marks = powers_of_ten(low, low * ratio)
    assert marks[0] <= low * 1.001 and marks[-1] >= low * ratio * 0.999
    assert 2 <= len(marks) <= 10


def test_a_decade_is_as_wide_as_the_next_on_a_logarithmic_axis() -> None:
    points = [(0.001, 1.0), (0.01, 2.0), (0.1, 1.0)]
    svg = ElementTree.fromstring(str(line_chart("t", "rate", "loss", [Series("s", points, "first", True)], log_x=True)))
    left, middle, right = (float(node.get("cx", "")) for node in svg.iter(f"{SVG}circle"))
    assert middle - left == pytest.approx(right - middle, abs=0.11)


def test_curve_drops_what_cannot_be_drawn_and_keeps_the_last_point() -> None:
    rows = [{"step": i, "loss": float(i)} for i in range(10_001)]
    rows[5]["loss"] = math.nan
    rows[6] = {"step": 6}
    points = points_of(rows, "loss")
    assert len(points) <= MOST_POINTS and points[-1] == (10_000, 10_000.0) and points == sorted(points)
    assert points_of([{"step": 1, "loss": math.inf}, {"step": 2, "loss": None}], "loss") == []


def test_chart_is_an_image_with_title_labels_and_legend_and_escapes_them() -> None:
    first = Series("a <b>", [(1, 2.0), (2, 1.0)], "first")
    second = Series("measured", [(1, 3.0), (2, 2.5)], "second", dots=True)
    svg = ElementTree.fromstring(str(line_chart("<script>", "step", "loss", [first, second])))
    texts = [node.text for node in svg.iter(f"{SVG}text")]
    assert svg.get("role") == "img" and svg.findtext(f"{SVG}title") == "<script>"
    assert {"step", "loss", "a <b>", "measured"} <= set(texts)
    assert len(list(svg.iter(f"{SVG}circle"))) == 2


@pytest.mark.parametrize("points", [[(1.0, 0.5)], [(0.0, 0.0), (0.0, 0.0)], [(1.0, 3.0), (2.0, 3.0)]])
def test_flat_or_single_point_curves_are_drawn(points: list[tuple[float, float]]) -> None:
    assert "nan" not in str(line_chart("t", "x", "y", [Series("s", points, "first")]))


def test_chart_without_points_is_left_out() -> None:
    assert line_chart("t", "x", "y", [Series("s", [], "first")]) is None


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({"metric": "accuracy", "value": 0.5, "min": 0.9, "max": None}, "accuracy is 0.5, below the minimum of 0.9"),
        ({"metric": "loss", "value": 2.5, "min": None, "max": 2}, "loss is 2.5, above the maximum of 2"),
        ({"metric": "roc_auc", "value": None, "min": 0.9, "max": None}, "roc_auc was not measured"),
    ],
)
def test_missed_check_is_explained_by_metric_value_and_bound(check: dict[str, object], text: str) -> None:
    assert explain_missed(check) == text


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({"metric": "accuracy", "value": 0.95, "min": 0.9, "max": None}, "accuracy 0.95 (at least 0.9)"),
        ({"metric": "bias", "value": 0.5, "min": 0.4, "max": 0.6}, "bias 0.5 (at least 0.4 and at most 0.6)"),
        (
            {"metric": "loss", "value": 0.25, "min": None, "max": 2.30957, "baseline": "always 'a'"},
            "loss 0.25 (better than always 'a', 2.31)",
        ),
    ],
)
def test_kept_check_names_metric_value_and_bounds(check: dict[str, object], text: str) -> None:
    assert explain_kept(check) == text


def test_values_are_worded_for_people() -> None:
    assert [words.of_number(v) for v in (1234567, 0.123456789, 3.0, True, None, math.inf)] == [
        "1,234,567", "0.123457", "3", "yes", "none", "inf",
    ]  # fmt: skip
    assert [units.of_seconds(s) for s in (0.41, 200, 7500)] == ["0.4 s", "3 min 20 s", "2 h 5 min"]
    assert [units.of_bytes(b) for b in (12, 2048, 5 << 30)] == ["12 B", "2.0 KiB", "5.0 GiB"]
    assert len(words.of_value("x" * 10_000)) == words.MOST_CHARACTERS


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("peak_memory_bytes", 934141952.0, ("Peak memory", "890.9 MiB")),
        ("model_flops", 4.2e12, ("Model FLOPs", "4.2 TFLOP")),
        ("model_flops_per_second", 1.777e11, ("Speed in FLOPs", "178 GFLOP/s")),
        ("tokens_per_second", 9823.7, ("Speed", "9,824 tokens/s")),
        ("samples_per_second", 12.345, ("Speed", "12.3 samples/s")),
        ("device_seconds", 88.6, ("Device time", "1 min 29 s")),
        ("energy_joules", 12345.0, ("Energy", "12.3 kJ")),
        ("mfu", 0.40994, ("MFU", "41.0 %")),
        ("mfu", 0.0001239, ("MFU", "0.0124 %")),
        ("train_rows", 1234, ("Train rows", "1,234")),
        ("bytes", 2048, ("Bytes", "2,048")),
        ("device", "AMD EPYC, 2 threads", ("Device", "AMD EPYC, 2 threads")),
        ("loss", math.nan, ("Loss", "nan")),
    ],
)
def test_what_a_step_measured_has_a_unit(name: str, value: object, shown: tuple[str, str]) -> None:
    assert words.of_metric(name, value) == shown


def test_large_numbers_have_three_digits_and_a_prefix() -> None:
    shown = [units.prefixed(v, "FLOP") for v in (0, 41, 999.4, 999.6, 2557632, 1.8e13, 3e25)]
    assert shown == ["0 FLOP", "41 FLOP", "999 FLOP", "1 kFLOP", "2.56 MFLOP", "18 TFLOP", "30 YFLOP"]
    assert units.prefixed(1_024_000) == "1.02 M" and units.of_seconds(360_000) == "100 h"


def test_expectation_that_raised_says_what_was_raised() -> None:
    config = {"type": "expect_column_to_exist", "kwargs": {"column": "age"}}
    nested = {"('metric', 'id')": {"raised_exception": True, "exception_message": "no such column"}}
    row = words.of_expectation({"success": False, "expectation_config": config, "exception_info": nested})
    assert (row["column"], row["expectation"], row["observed"]) == ("age", "to exist", "no such column")


def test_expectation_about_a_set_of_values_counts_values_and_puts_the_minimum_first() -> None:
    config = {
        "type": "expect_column_distinct_values_to_equal_set",
        "kwargs": {"column": "kind", "max_v": 2, "min_v": 1},
    }
    compared = {"observed_value": None, "unexpected_count": 1, "missing_count": 2}
    row = words.of_expectation({"success": False, "expectation_config": config, "result": compared})
    assert (row["observed"], row["arguments"]) == ("1 unexpected, 2 missing", "min_v 1, max_v 2")
