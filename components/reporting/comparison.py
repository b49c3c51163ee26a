"""The comparison with the champion and the calibration, as the report shows them."""

from typing import Any

from markupsafe import Markup

from modelmill.components.reporting import words
from modelmill.components.reporting.charts import Series, line_chart, ticks

WIDTH, LEFT, RIGHT, ROW, TOP, BOTTOM = 480, 130, 16, 26, 10, 40
MOST_ROWS = 20
_INTERVAL = Markup(
    '<text x="{end}" y="{text:.1f}" class="end">{name}</text>'
    '<path class="line third mark" d="M{margin:.1f} {top:.1f}v{row}"/>'
    '<path class="line {style}" d="M{low:.1f} {y:.1f}H{high:.1f}"/>'
    '<circle class="dot {style}" cx="{better_by:.1f}" cy="{y:.1f}" r="4"/>'
)


def of_decision(decision: Any) -> dict[str, Any] | None:
    """Return what was decided and why; `rows` are all examples and each slice, with shares of the champion's metric."""
    if not isinstance(decision, dict) or "verdict" not in decision:
        return None
    numbers = decision.get("numbers", {})
    rows = []
    if "better_by" in numbers:
        parts = [{"slice": "all examples", "lost": not decision["passed"], **numbers}, *decision.get("slices", [])]
        rows = [_row(part) for part in parts[: MOST_ROWS + 1]]
    return {
        "verdict": decision["verdict"],
        "passed": decision["passed"],
        "reason": decision["reason"],
        "metric": numbers.get("metric"),
        "version": (decision.get("champion") or {}).get("version"),
        "rows": rows,
        "chart": _intervals(rows) if rows else None,
    }


def _row(part: dict[str, Any]) -> dict[str, Any]:
    scale = abs(part["champion"]) or 1.0
    shares = {key: part[key] / scale for key in ("better_by", "low", "high", "margin")}
    shown = {key: words.of_percent(value) for key, value in shares.items()}
    return {
        "name": part["slice"],
        "examples": part["examples"],
        "champion": part["champion"],
        "challenger": part.get("challenger"),
        "lost": part["lost"],
        "shares": shares,
        "shown": shown,
    }


def _intervals(rows: list[dict[str, Any]]) -> Markup:
    """Draw a line for each row from the low to the high end of its interval, and mark zero and the margins."""
    ends = [
        share for row in rows for share in (row["shares"]["low"], row["shares"]["high"], -row["shares"]["margin"], 0)
    ]
    marks = ticks(100 * min(ends), 100 * max(max(ends), min(ends) + 1e-6))
    low, high = marks[0], marks[-1]
    height = TOP + ROW * len(rows) + BOTTOM

    def x(share: float) -> float:
        return LEFT + (100 * share - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    bottom = TOP + ROW * len(rows)
    parts = [
        Markup('<path class="grid" d="M{0:.1f} {1}V{2}"/><text x="{0:.1f}" y="{3}" class="middle">{4}</text>').format(
            x(mark / 100), TOP, bottom, bottom + 16, f"{mark:g} %"
        )
        for mark in marks
    ]
    parts.append(Markup('<path class="tick" d="M{:.1f} {}V{}"/>').format(x(0), TOP, bottom))
    for number, row in enumerate(rows):
        middle, shares = TOP + ROW * (number + 0.5), row["shares"]
        places = {key: x(shares[key]) for key in ("low", "high", "better_by")}
        parts.append(
            _INTERVAL.format(
                name=row["name"][:20],
                end=LEFT - 8,
                text=middle + 4,
                top=middle - ROW / 2,
                row=ROW,
                margin=x(-shares["margin"]),
                style="second" if row["lost"] else "first",
                y=middle,
                **places,
            )
        )
    label = Markup('<text x="{:.1f}" y="{}" class="middle label">better than the champion by</text>')
    parts.append(label.format((LEFT + WIDTH - RIGHT) / 2, height - 6))
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" xmlns="http://www.w3.org/2000/svg">'
        "<title>How much better than the champion, with intervals</title>{}</svg>"
    ).format(WIDTH, height, Markup("").join(parts))


def reliability(bins: Any) -> Markup | None:
    """Return the chart of accuracy by confidence, on which a calibrated classifier is on the diagonal."""
    if not isinstance(bins, list) or not bins:
        return None
    least = min(one["confidence"] for one in bins)
    series = [
        Series("accuracy", [(one["confidence"], one["accuracy"]) for one in bins], "second", dots=True),
        Series("calibrated", [(least, least), (1.0, 1.0)], "third"),
    ]
    return line_chart("Reliability: accuracy by confidence", "confidence", "accuracy", series)
