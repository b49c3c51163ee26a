"""Two runs side by side on one page: what was asked, what came out, and which model is better."""

from typing import Any

from modelmill.champion.comparison import decide_between
from modelmill.components.reporting import comparison, words
from modelmill.components.reporting.charts import Series, line_chart, points_of
from modelmill.components.reporting.evidence import Run, parse_json, parse_lines
from modelmill.components.reporting.render import STAGES, template
from modelmill.core.errors import CorruptError

STYLES = ("third", "first")  # of the first and the second run


def render(first: Run, second: Run) -> str:
    """Return one self-contained HTML file; what a run has not made is left out.

    Args:
        first: The run whose model is taken for the champion.
        second: The run whose model is taken for the challenger.
    """
    runs = (first, second)
    return template("compare.html.j2").render(
        names=[run.run_id for run in runs],
        recipes=[run.recipe.get("name", "") for run in runs],
        settings=_differing(_flat(first.recipe), _flat(second.recipe)),
        shards=_shards(first, second),
        steps=_steps(first, second),
        metrics=_beside(*(_metrics(run) for run in runs)),
        decision=comparison.of_decision(_decision(first, second)),
        charts=[chart for stage in STAGES if (chart := _losses(first, second, stage))],
    )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in _flat(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def _differing(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str, str]]:
    keys = [key for key in dict.fromkeys([*first, *second]) if first.get(key) != second.get(key)]
    return [(key, words.of_value(first.get(key)), words.of_value(second.get(key))) for key in keys]


def _beside(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])]


def _metrics(run: Run) -> dict[str, float]:
    made = run.manifest("evaluation.evaluation")
    return (parse_json(run.entry(made, "metrics.json")) or {}) if made else {}


def _steps(first: Run, second: Run) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys([*first.steps, *second.steps]):
        records = [run.steps.get(name) for run in (first, second)]
        same = all(records) and records[0].outputs == records[1].outputs  # type: ignore[union-attr]
        cells = [(record.status, record.seconds) if record else ("not run", None) for record in records]
        rows.append({"name": name, "cells": cells, "same": bool(same)})
    return rows


def _shards(first: Run, second: Run) -> dict[str, Any] | None:
    """Return how many shards both have, and which only one of them has, by their content."""
    made = [run.manifest("data_validation.dataset") for run in (first, second)]
    if None in made:
        return None
    mine, its = ({entry.sha256: entry.path for entry in one.entries} for one in made if one is not None)
    return {
        "both": len(mine.keys() & its.keys()),
        "only": [sorted(a[sha256] for sha256 in a.keys() - b.keys()) for a, b in ((mine, its), (its, mine))],
    }


def _decision(first: Run, second: Run) -> dict[str, Any] | None:
    """Compare the models as if the first run's were the champion."""
    champion, challenger = (run.manifest("evaluation.evaluation") for run in (first, second))
    if champion is None or challenger is None:
        return None
    settings = challenger.info.get("comparison") or champion.info.get("comparison")
    if settings is None or "measure" not in settings:  # an older version's
        return None
    try:
        decision = decide_between(first.store, challenger, champion, settings)
    except CorruptError:
        return None
    return decision


def _losses(first: Run, second: Run, stage: str) -> dict[str, Any] | None:
    """Return the validation losses of a stage by step, of both runs."""
    series = []
    for run, style in zip((first, second), STYLES, strict=True):
        model = run.manifest(f"{stage}.model")
        if model is not None and model.info.get("trained"):
            history = parse_lines(run.entry(model, "history.jsonl"))
            series.append(Series(run.run_id, points_of(history, "validation_loss"), style, dots=True))
    chart = line_chart(f"{words.of_name(stage)}: validation loss by step", "step", "validation loss", series)
    return {"name": stage, "chart": chart} if chart else None
