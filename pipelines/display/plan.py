"""A plan for people: which steps will run and why, and what training would cost."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from modelmill.core import units
from modelmill.pipelines.display.steps import STYLE
from modelmill.pipelines.planning import estimates
from modelmill.pipelines.planning.plan import Planned
from modelmill.runtime.run_records import Estimate

_MOST_COLUMNS = 20


def show_steps(planned: list[Planned]) -> None:
    """Print one row a step."""
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "status", "why"):
        table.add_column(heading, overflow="fold")
    for step in planned:
        table.add_row(step.name, f"[{STYLE[step.status]}]{step.status}[/]", escape(step.reason))
    Console().print(table)


def show_columns(columns: dict[str, str]) -> None:
    """Print the types of the data's columns, as far as they are known."""
    if not columns:
        return
    named = [f"{name} {type_}" for name, type_ in list(columns.items())[:_MOST_COLUMNS]]
    more = f" and {len(columns) - _MOST_COLUMNS} more" if len(columns) > _MOST_COLUMNS else ""
    Console().print(f"columns: {', '.join(named)}{more}", markup=False, highlight=False)


def show_model(facts: dict[str, Any]) -> None:
    """Print what is known of the weights to start from."""
    known = [f"{name.replace('_', ' ')}: {_said(value)}" for name, value in facts.items()]
    text = "\n  ".join(known) or "random weights: nothing to check"
    Console().print(f"\nmodel: {text}", markup=False, highlight=False)


def show_costs(costs: dict[str, Estimate]) -> None:
    """Print what the training steps that will run are expected to cost, and what the times are based on."""
    if not costs:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("training")
    unit = next(iter(costs.values())).unit
    for heading in ("parameters", unit, "FLOPs", "device time"):
        table.add_column(heading, justify="right")
    for name, cost in costs.items():
        table.add_row(name, *map(_known, (cost.parameters, cost.amount, cost.model_flops)), _time(cost.device_hours))
    total = estimates.total(costs)
    table.add_row("total", "", "", _known(total["model_flops"]), _time(total["device_hours"]))
    console = Console()
    console.print()
    console.print(table)
    for name, cost in costs.items():
        console.print(f"{name}: {cost.basis}", markup=False, highlight=False)


def _known(value: float | None) -> str:
    return "unknown" if value is None else units.prefixed(value)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _time(hours: float | None) -> str:
    return "unknown" if hours is None else units.of_seconds(hours * 3600)
