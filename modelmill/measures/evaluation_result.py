"""The result of an evaluation, whatever the task."""

from typing import Any, NamedTuple


class Baseline(NamedTuple):
    """A model that has learned next to nothing, and that a trained model must beat in a metric.

    Attributes:
        metric: Name of the metric.
        what: The baseline in words.
        value: The trained model's value of the metric.
        least: The baseline's value, where the trained model's must be above it.
        most: The baseline's value, where the trained model's must be below it.
        better_by: Ends of the interval in which the trained model is better, where it must lie above 0; None without.
    """

    metric: str
    what: str
    value: float
    least: float | None = None
    most: float | None = None
    better_by: tuple[float, float] | None = None

    @property
    def check(self) -> dict[str, Any]:
        """The baseline as a check of the gate."""
        passed = (self.most is None or self.value < self.most) and (self.least is None or self.value > self.least)
        passed = passed and (self.better_by is None or self.better_by[0] > 0)
        bounds = {"metric": self.metric, "value": self.value, "min": self.least, "max": self.most}
        interval = {} if self.better_by is None else {"better_by": list(self.better_by)}
        return {**bounds, "passed": passed, "baseline": self.what, **interval}


class EvaluationResult(NamedTuple):
    """What a task's evaluation measured.

    Attributes:
        metrics: Metrics by name.
        rows: A row for each example and model; see `comparison.rows`.
        files: Other files by name, as JSON.
        baselines: Baselines that the model must beat.
    """

    metrics: dict[str, float]
    rows: list[dict[str, Any]]
    files: dict[str, Any]
    baselines: tuple[Baseline, ...] = ()
