"""The page of a learning-rate range test: the curve, and the rate that it suggests."""

from typing import Any

from modelmill.components.reporting.charts import Point, Series, line_chart, points_of
from modelmill.components.reporting.render import template
from modelmill.recipe import Training

HOW = (
    "One batch a step, the learning rate rising by the same factor each time, optimizer and weight decay as in the "
    "recipe (Smith, 2017, arXiv:1506.01186). The suggestion is where the smoothed loss falls fastest, but at most a "
    "tenth of the rate where it is lowest. The loss is each batch's in nats, before its update; values far above the "
    "smoothed ones are not drawn."
)


def render(
    recipe: str, stage: str, settings: Training, measured: dict[str, Any], headline: str, command: str | None
) -> str:
    """Return one self-contained HTML file of what `modelmill lr-find` has measured.

    Args:
        recipe: The recipe's name.
        stage: The stage.
        settings: The stage's settings.
        measured: `rows` (`rate`, `loss`, `smoothed`), `steepest`, `lowest` and `suggestion`.
        headline: The outcome on one line.
        command: The command that uses it, if there is a suggestion.
    """
    shown = ("optimizer", "batch_size", "weight_decay", "clip_norm")
    title = f"Loss of {stage} by learning rate"
    return template("lr_find.html.j2").render(
        recipe=recipe,
        stage=stage.replace("_", "-"),
        settings={name: getattr(settings, name) for name in shown} | {"rate in the recipe": settings.learning_rate},
        headline=headline,
        command=command,
        chart=line_chart(title, "learning rate", "loss", _series(measured, settings.learning_rate), log_x=True),
        how=HOW,
        rows=measured["rows"],
    )


def _series(measured: dict[str, Any], current: float) -> list[Series]:
    rows = measured["rows"]
    smoothed = points_of(rows, "smoothed", "rate")
    low, high = (pick(y for _, y in smoothed) for pick in (min, max))
    losses = [(x, y) for x, y in points_of(rows, "loss", "rate") if y <= high + (high - low) / 4]
    series = [Series("loss", losses, "third"), Series("smoothed", smoothed, "first")]
    if rows[0]["rate"] <= current <= rows[-1]["rate"]:
        series.append(Series("recipe", _mark(current, low, high), "third mark"))
    if measured["suggestion"] is not None:
        series.append(Series("suggested", _mark(measured["suggestion"], low, high), "second mark"))
    return series


def _mark(rate: float, low: float, high: float) -> list[Point]:
    """Return an upright line at a rate."""
    return [(rate, low), (rate, high)]
