"""Evaluation of a classifier of rows, with logistic regression as a baseline."""

from typing import Any

import numpy as np
import torch

from modelmill.measures import classification
from modelmill.measures.evaluation_result import EvaluationResult
from modelmill.measures.logistic import Labelled, logistic_regression
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.training import loading


@torch.no_grad()
def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's rows; see `classification.measure`.

    The baselines are the shares of the classes, and logistic regression on the same standardised columns.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    model = task.load(loading.fetch_model(step, step.inputs[FINE_TUNED])).eval()
    held_out, training, validation = (task.examples("fine_tuning", split) for split in ("test", "train", "validation"))
    batch = held_out.batch(np.arange(len(held_out)))
    truth = batch["labels"].numpy()
    probabilities = task.probabilities(model, batch).double().numpy()
    measured = classification.measure(task.classes, truth, probabilities, held_out.ids, training.ids)
    if not step.recipe.evaluation.baseline:
        return measured
    shares = classification.shares(training.labels, truth, len(task.classes), measured.metrics["loss"])
    known = Labelled(*((rows.features, rows.labels) for rows in (training, validation, held_out)))
    linear = logistic_regression("the columns", known, len(task.classes), measured.metrics)
    return measured._replace(baselines=(shares, *linear))
