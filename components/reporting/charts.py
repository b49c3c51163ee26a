"""Line charts as inline SVG, drawn by hand, so that the page needs no script and follows light and dark."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 68, 12, 26, 40
MOST_POINTS = 600
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A named line.

    Attributes:
        name: Its name in the legend.
        points: Its points.
        style: The CSS class that colours it.
        dots: Whether each point is marked.
    """

    name: str
    points: list[Point]
    style: str
    dots: bool = False


def points_of(rows: Iterable[dict[str, Any]], y: str, x: str = "step") -> list[Point]:
    """Return the finite (x, y) pairs of the rows that have both, at most `MOST_POINTS`, including the last one."""
    points = [(float(r[x]), float(r[y])) for r in rows if _is_finite(r.get(x)) and _is_finite(r.get(y))]
    stride = math.ceil(len(points) / MOST_POINTS)
    return points[-1::-stride][::-1] if points else []


def line_chart(title: str, x_label: str, y_label: str, series: list[Series], log_x: bool = False) -> Markup | None:
    """Return an SVG figure with axes, ticks and a legend, or None where no series has a point.

    Args:
        title: The title, for screen readers.
        x_label: Label of the horizontal axis.
        y_label: Label of the vertical axis.
        series: The lines.
        log_x: Whether the horizontal axis is logarithmic; all x are then above 0.
    """
    drawn = [s for s in series if s.points]
    if not drawn:
        return None
    x_ticks = (powers_of_ten if log_x else ticks)(*_span(p[0] for s in drawn for p in s.points))
    y_ticks = ticks(*_span(p[1] for s in drawn for p in s.points))
    frame = _Frame(x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1], log_x)
    parts = [
        _grid(frame, x_ticks, y_ticks),
        _labels(x_label, y_label),
        *(_line(frame, s) for s in drawn),
        _legend(drawn),
    ]
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" xmlns="http://www.w3.org/2000/svg"><title>{}</title>{}</svg>'
    ).format(WIDTH, HEIGHT, title, Markup("").join(parts))


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers that enclose [low, high], at steps of 1, 2 or 5 times a power of ten.

    Args:
        low: The least value.
        high: The greatest value.
        about: About how many steps to make.
    """
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def powers_of_ten(low: float, high: float) -> list[float]:
    """Return powers of ten that enclose [low, high], two to ten of them, evenly apart."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    stride = max(1, math.ceil((last - first) / 8))
    return [10.0**i for i in range(first, max(last, first + 1) + stride, stride)]


@dataclass(frozen=True)
class _Frame:
    """The mapping from data to the drawing's units."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    log_x: bool

    def x(self, value: float) -> float:
        scaled, low, high = (math.log10(v) if self.log_x else v for v in (value, self.x_low, self.x_high))
        return LEFT + (scaled - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)


def _grid(frame: _Frame, x_ticks: list[float], y_ticks: list[float]) -> Markup:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    across = [
        Markup('<path class="grid" d="M{} {:.1f}H{}"/><text x="{}" y="{:.1f}" class="end">{}</text>').format(
            LEFT, frame.y(t), right, LEFT - 6, frame.y(t) + 4, f"{t:g}"
        )
        for t in y_ticks
    ]
    along = [
        Markup('<path class="tick" d="M{:.1f} {}v4"/><text x="{:.1f}" y="{}" class="middle">{}</text>').format(
            frame.x(t), bottom, frame.x(t), bottom + 16, f"{t:g}"
        )
        for t in x_ticks
    ]
    return Markup("").join([*across, *along])


def _labels(x_label: str, y_label: str) -> Markup:
    return Markup(
        '<text x="{}" y="{}" class="middle label">{}</text>'
        '<text x="12" y="{}" class="middle label" transform="rotate(-90 12 {})">{}</text>'
    ).format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, x_label, *2 * [(TOP + HEIGHT - BOTTOM) / 2], y_label)


def _line(frame: _Frame, series: Series) -> Markup:
    xy = [(frame.x(x), frame.y(y)) for x, y in series.points]
    path = Markup('<path class="line {}" d="M{}"/>').format(series.style, "L".join(f"{x:.1f} {y:.1f}" for x, y in xy))
    marked = xy if series.dots or len(xy) == 1 else []
    dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>')
    return Markup("").join([path, *(dot.format(series.style, x, y) for x, y in marked)])


def _legend(series: list[Series]) -> Markup:
    """Return names beside a stroke of their line, from the left above the frame."""
    parts, x = [], LEFT
    for s in series:
        key = Markup('<path class="line {}" d="M{} 12h18"/><text x="{}" y="16">{}</text>')
        parts.append(key.format(s.style, x, x + 24, s.name))
        x += 44 + 7 * len(s.name)
    return Markup("").join(parts)


def _span(values: Iterable[float]) -> tuple[float, float]:
    """Return the least and the greatest value, moved apart where they are equal."""
    numbers = list(values)
    low, high = min(numbers), max(numbers)
    margin = max(abs(high) * 0.05, 1e-9) if high - low <= abs(high) * 1e-9 else 0.0
    return low - margin, high + margin


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
