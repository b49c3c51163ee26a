"""What an evaluation has found, whatever the task."""

from typing import Any, NamedTuple


class Baseline(NamedTuple):
    """`what` has learned next to nothing; a model's `metric` must be below `most`, or above `least`."""

    metric: str
    what: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def check(self) -> dict[str, Any]:
        """As a check of the gate."""
        passed = (self.most is None or self.value < self.most) and (self.least is None or self.value > self.least)
        bounds = {"metric": self.metric, "value": self.value, "min": self.least, "max": self.most}
        return {**bounds, "passed": passed, "baseline": self.what}


class EvaluationResult(NamedTuple):
    """metrics by name; a row for each example and model, see `comparison.rows`; other files by name, JSON."""

    metrics: dict[str, float]
    rows: list[dict[str, Any]]
    files: dict[str, Any]
    baselines: tuple[Baseline, ...] = ()
