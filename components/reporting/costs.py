"""The cost of a training step, beside what was expected of it before the run."""

from collections.abc import Callable
from typing import Any, NamedTuple

from modelmill.components.reporting import words
from modelmill.components.reporting.evidence import Run
from modelmill.core import units
from modelmill.runtime.run_records import Estimate

# Metrics of a training step that the table does not show already.
FACTS = (
    "tokens_per_second",
    "samples_per_second",
    "model_flops_per_second",
    "mfu",
    "input_wait_share",
    "peak_memory_bytes",
    "energy_joules",
    "device",
    "devices",
)


class Compared(NamedTuple):
    """A quantity as it was planned and as it came out, and the deviation."""

    name: str
    planned: str
    actual: str
    off: str


def cost_of(run: Run, name: str) -> dict[str, Any] | None:
    """Return the cost of a training step, or None where it did not train in this run.

    On a cluster nothing was planned, and `basis` is None.
    """
    record = run.steps.get(name)
    if record is None or record.status != "ran" or "device_seconds" not in record.metrics:
        return None
    measured = record.metrics
    estimate = run.record.estimates.get(name) if run.record else None
    planned = estimate or Estimate(unit="samples")
    seconds = None if planned.device_hours is None else planned.device_hours * 3600
    return {
        "name": name,
        "basis": estimate.basis if estimate else None,
        "rows": [
            _compare("Model FLOPs", planned.model_flops, measured.get("model_flops"), _flops),
            _compare("Device time", seconds, measured["device_seconds"], units.of_seconds),
        ],
        "facts": [words.of_metric(fact, measured[fact]) for fact in FACTS if fact in measured],
    }


def _compare(name: str, planned: float | None, actual: float | None, text: Callable[[float], str]) -> Compared:
    return Compared(
        name,
        planned="unknown" if planned is None else text(planned),
        actual="unknown" if actual is None else text(actual),
        off=f"{100 * (actual / planned - 1):+.1f} %" if planned and actual is not None else "",
    )


def _flops(value: float) -> str:
    return units.prefixed(value, "FLOP")
