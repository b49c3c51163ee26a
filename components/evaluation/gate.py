"""The gate of thresholds: every metric that the recipe bounds must be within its bounds and beat the baselines."""

from collections.abc import Sequence
from typing import Any

from modelmill.measures.evaluation_result import Baseline


def judge(
    metrics: dict[str, float], bounds: dict[str, dict[str, float]], baselines: Sequence[Baseline] = ()
) -> dict[str, Any]:
    """Return `{"passed": bool, "checks": [...]}` with one check a bounded metric; without bounds anything passes.

    A bounded metric that was not measured fails: no evidence is not a pass.

    Args:
        metrics: Measured metrics by name.
        bounds: `min` and `max` by metric.
        baselines: Baselines that the model must beat.
    """
    checks = [_check(metric, metrics.get(metric), bound) for metric, bound in sorted(bounds.items())]
    checks += [baseline.check for baseline in baselines]
    return {"passed": all(check["passed"] for check in checks), "checks": checks}


def _check(metric: str, value: float | None, bound: dict[str, float]) -> dict[str, Any]:
    low, high = bound.get("min"), bound.get("max")
    passed = value is not None and (low is None or value >= low) and (high is None or value <= high)
    return {"metric": metric, "value": value, "min": low, "max": high, "passed": passed}
