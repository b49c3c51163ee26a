"""The report's page: what each section shows, handed to a template that escapes everything."""

import platform
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from modelmill.components.reporting import comparison, data_section, words
from modelmill.components.reporting.charts import Series, line_chart, points_of
from modelmill.components.reporting.conclusion import conclude
from modelmill.components.reporting.costs import cost_of
from modelmill.components.reporting.evidence import Run, parse_json, parse_lines
from modelmill.components.reporting.outcome import CANCELLED, GATE_FAILED, IDLE, REGISTERED
from modelmill.core import limits, units
from modelmill.recipe.step_specs import STEPS
from modelmill.runtime.run_records import Progress, StepRecord
from modelmill.store.manifest import Manifest

MOST_SAMPLES = 64
# Slices whose metrics before and after fine-tuning are shown.
MOST_SLICES = 80
STAGES = ("pretraining", "fine_tuning")
# Metrics of a training that report unusual events.
EVENTS = ("skipped_batches", "resumed_from_step")


def render(run: Run, outcome: dict[str, Any]) -> str:
    """Return one self-contained HTML file; sections without evidence are left out.

    Args:
        run: The evidence that the run left in the store.
        outcome: The document of `outcome.json`.
    """
    return template("report.html.j2").render(
        outcome=outcome,
        header=_header(run, outcome),
        conclusion=conclude(run, outcome),
        evaluation=_evaluation(run),
        training=[stage for name in STAGES if (stage := _stage(run, name))],
        costs=[cost for name in STAGES if (cost := cost_of(run, name))],
        data=data_section.describe(run),
        splits=data_section.splits_of(run),
        steps=[_step(name, run.steps.get(name), outcome) for name in STEPS],
        lineage=_lineage(run),
        recipe=yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True, width=100),
        environment=_environment(run),
    )


def template(name: str) -> Template:
    """Return one of this folder's templates; it escapes everything."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bytes=units.of_bytes,
        number=words.of_number,
        seconds=units.of_seconds,
        text=words.of_value,
        words=words.of_name,
    )
    return environment.get_template(name)


def _header(run: Run, outcome: dict[str, Any]) -> dict[str, Any]:
    starts = [record.started for record in run.steps.values() if record.started]
    started = run.record.started if run.record else min(starts, default=outcome["finished"])
    return {
        "recipe": run.recipe.get("name", ""),
        "task": run.recipe.get("task", ""),
        "started": datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "seconds": max(outcome["finished"] - started, 0.0),
        "tone": {REGISTERED: "good", IDLE: "good", GATE_FAILED: "warn", CANCELLED: "warn"}.get(
            outcome["outcome"], "bad"
        ),
        "store": run.store.uri,
        "requested": _requested(run),
    }


def _requested(run: Run) -> str:
    """Return who asked for the run and why, where its record says so."""
    if run.record is None:
        return ""
    return ": ".join(part for part in (run.record.requested_by, run.record.reason) if part)


def _step(name: str, record: StepRecord | None, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return a step's row; a step that is still running when the report is written was killed, or cancelled."""
    unfinished = "cancelled" if outcome["outcome"] == CANCELLED else "killed"
    status = "not run" if record is None else unfinished if record.status == "running" else record.status
    record = record or StepRecord(name=name, status="failed")
    tone = {"ran": "good", "reused": "quiet", "not run": "quiet"}.get(status, "bad")
    has_stopped_run = outcome["failed_step"] == name and status in ("ran", "reused")
    inputs = [source.split(".")[0] for source in STEPS[name].inputs.values()]
    progress = record.progress if status in ("killed", "failed", "cancelled") else None
    return {
        "name": name,
        "status": status,
        "tone": "warn" if has_stopped_run else tone,
        "seconds": None if status == "not run" else record.seconds,
        "headline": record.problem.message if record.problem else record.headline,
        "reason": record.reason,
        "reached": _reached(progress) if progress else "",
        "key": record.key,
        "inputs": list(dict.fromkeys(inputs)),
        "metrics": [words.of_metric(*metric) for metric in record.metrics.items()],
    }


def _reached(progress: Progress) -> str:
    return f"reached {words.of_number(progress.done)} of {words.of_number(progress.total)}: {progress.text}"


def _stage(run: Run, name: str) -> dict[str, Any] | None:
    """Return a stage's facts and charts, or None where it did not train.

    A stage that the recipe leaves out hands on the model it got with that model's history, which is not shown twice.
    """
    model = run.manifest(f"{name}.model")
    if model is None or not model.info.get("trained"):
        return None
    history = parse_lines(run.entry(model, "history.jsonl"))
    losses = [
        Series("training", points_of(history, "loss"), "first"),
        Series("validation", points_of(history, "validation_loss"), "second", dots=True),
    ]
    rates = [Series("learning rate", points_of(history, "learning_rate"), "third")]
    title = words.of_name(name)
    charts = [
        line_chart(f"{title}: training and validation loss by step", "step", "loss", losses),
        line_chart(f"{title}: learning rate by step", "step", "learning rate", rates),
    ]
    facts = {k: v for k, v in model.info.items() if k not in ("task", "stage", "trained", "libraries")}
    return {
        "name": name,
        "facts": facts | {k: v for k, v in run.steps[name].metrics.items() if k in EVENTS},
        "charts": [chart for chart in charts if chart],
    }


def _evaluation(run: Run) -> dict[str, Any] | None:
    made = run.manifest("evaluation.evaluation")
    if made is None:
        return None
    gate = parse_json(run.entry(made, "gate.json")) or {}
    metrics = parse_json(run.entry(made, "metrics.json")) or made.info.get("metrics", {})
    checks = [(check["metric"], check["value"], check) for check in gate.get("checks", [])]
    bounded = {name for name, _, _ in checks}
    samples = (parse_json(run.entry(made, "samples.json")) or [])[:MOST_SAMPLES]
    return {
        "passed": made.info.get("passed"),
        "rows": checks + [(name, value, None) for name, value in metrics.items() if name not in bounded],
        "decision": comparison.of_decision(made.info.get("decision")),
        "breakdown": (parse_json(run.entry(made, "breakdown.json")) or [])[:MOST_SLICES],
        "classes": (parse_json(run.entry(made, "classes.json")) or [])[:MOST_SLICES],
        "reliability": comparison.reliability(parse_json(run.entry(made, "calibration.json"))),
        "confusion": _confusion(parse_json(run.entry(made, "confusion.json"))),
        "samples": [(kind, list(some)) for kind, some in groupby(samples, key=lambda sample: sample.get("kind"))],
    }


def _confusion(confusion: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return counts with their share of the row, which the shading shows."""
    if not confusion:
        return None
    rows = [
        (label, [(count, count / max(sum(counts), 1)) for count in counts])
        for label, counts in zip(confusion["classes"], confusion["matrix"], strict=True)
    ]
    return {"classes": confusion["classes"], "rows": rows}


def _lineage(run: Run) -> list[dict[str, Any]]:
    """Return every output with its digest and the digests of its inputs."""
    rows = []
    for name, record in run.steps.items():
        for output, sha256 in record.outputs.items():
            made: Manifest | None = run.manifest(f"{name}.{output}")
            rows.append({"output": f"{name}.{output}", "digest": sha256, "from": made.made_from if made else {}})
    return rows


def _environment(run: Run) -> dict[str, Any]:
    """Return the versions of the libraries that trained the model, and the machine that wrote this page."""
    models = [model for name in STAGES if (model := run.manifest(f"{name}.model"))]
    libraries = {library: version for model in models for library, version in model.info.get("libraries", {}).items()}
    machine = f"{platform.system()} {platform.machine()}, {limits.cores()} CPU cores"
    return {"libraries": libraries, "machine": machine, "python": platform.python_version()}
