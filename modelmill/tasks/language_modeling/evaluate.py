"""Evaluation of a language model: bits per byte of files, and responses or preferences before and after fine-tuning."""

import math
from typing import Any

import torch

from modelmill.measures import breakdown, samples
from modelmill.measures.breakdown import PARTS
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Task
from modelmill.tasks.language_modeling.measuring import baselines as counts
from modelmill.tasks.language_modeling.measuring import examples, losses
from modelmill.tasks.language_modeling.measuring.examples import Row
from modelmill.tasks.language_modeling.measuring.preference_measures import PreferenceMeasures
from modelmill.tasks.language_modeling.measuring.preferences import KINDS
from modelmill.tasks.language_modeling.measuring.response_measures import ResponseMeasures
from modelmill.tasks.language_modeling.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the held-out files and pairs, conversations or preferences.

    `bits_per_byte` is of the pretrained model (of the fine-tuned one where nothing was pretrained) over every token of
    the held-out files; it is not measured with `evaluation.documents: false`. `loss_before` and `loss_after` are mean
    nats per response token of held-out pairs, and `response_bits_per_byte` is of the same responses after fine-tuning,
    of preferences of the chosen ones. Other metrics are described in the gate of the recipe; with `_before` at the end
    of their names they are of the model before fine-tuning.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.evaluation
    corpus, pretrained, tuned = (step.inputs[name] for name in ("preprocessing.corpus", PRETRAINED, FINE_TUNED))
    was_tuned = bool(tuned.info["trained"]) and tuned.info["stage"] == "fine_tuning"

    base = _load(step, task, pretrained if pretrained.entries else tuned)
    table: list[Row] = []
    metrics: dict[str, float] = {}
    baselines: list[Baseline] = []
    if settings.documents:
        step.progress(0, 4, "bits per byte")
        table, metrics["bits_per_byte"] = _documents(task, base, corpus)
        if settings.baseline:
            baselines += counts.of_documents(task, corpus, settings.ngram_order, metrics["bits_per_byte"])
    if not was_tuned or not len(examples.of_split(task, "pairs", "test")):
        return EvaluationResult(metrics, table, {samples.FILE: []}, tuple(baselines))
    measures = _measures(task, recipe)
    before: list[Row] = []
    if pretrained.entries:
        step.progress(1, 4, "held-out pairs, before fine-tuning")
        before = measures.measure(base, "before")
    step.progress(2, 4, "held-out pairs, after fine-tuning")
    del base
    after = measures.measure(_load(step, task, tuned), "after")
    step.progress(3, 4, "intervals")
    metrics |= measures.metrics(before, after)
    if settings.baseline:
        baselines += measures.baselines(before, after, metrics)
    files = {samples.FILE: measures.samples(), breakdown.FILE: _breakdown(recipe, before, after)}
    return EvaluationResult(metrics, table + before + after, files, tuple(baselines))


def _measures(task: Any, recipe: Recipe) -> ResponseMeasures | PreferenceMeasures:
    kind = task.corpus.info["frame"].get("kind", "pairs")
    if kind not in KINDS:
        return ResponseMeasures(task, recipe.evaluation, kind)
    metric = recipe.metric_of_answers(kind)
    return PreferenceMeasures(task, recipe.evaluation, kind, (metric, recipe.measures[metric]))


def _breakdown(recipe: Recipe, before: list[Row], after: list[Row]) -> list[Row]:
    """Return every metric of the fine-tuned model slice by slice, and that of responses turn by turn."""
    chosen = [(name, measure) for name, measure in recipe.measures.items() if measure.model == "after"]
    metric = counts.METRIC
    chosen.append((metric, recipe.measures[metric]._replace(set=PARTS)))
    return [part for one in chosen for part in breakdown.of_metric(*one, before, after, recipe.seed)]


def _documents(task: Any, model: torch.nn.Module, corpus: Manifest) -> tuple[list[Row], float]:
    """Return a row for each held-out document, and the bits per byte of all."""
    windows = examples.of_split(task, "documents", "test")
    described = examples.described(task, "documents", windows)
    rows = losses.rows_of(task, model, windows, described, "before", len(windows))
    nats = math.fsum(row["loss"] for row in rows)
    return rows, nats / math.log(2) / corpus.info["splits"]["test"]["bytes"]


def _load(step: Step, task: Task, model: Manifest) -> torch.nn.Module:
    device = hardware.pick_device()
    loaded = loading.load_model(step, task, model).to(device).eval()
    return loaded.float() if device.type == "cpu" else loaded
