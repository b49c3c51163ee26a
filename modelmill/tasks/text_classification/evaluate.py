"""Evaluation of a text classifier, with TF-IDF as a baseline."""

import json
from typing import Any

import numpy as np
import torch

from modelmill.measures import classification, samples
from modelmill.measures.evaluation_result import EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.text_classification import baseline
from modelmill.tasks.text_classification.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

BATCH = 128


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's texts; see `classification.measure`.

    The baselines are the shares of the classes and TF-IDF with logistic regression, fitted on the labels that
    fine-tuning has seen.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    model = task.load(loading.fetch_model(step, step.inputs[FINE_TUNED]))
    training, validation, held_out = (task.examples("fine_tuning", split) for split in ("train", "validation", "test"))
    probabilities = _probabilities(task, model, held_out)
    truth, texts = held_out.labels, _texts(task, "test", held_out.rows)
    slices = [[f"length={length_of(int(tokens))}"] for tokens in held_out.lengths]
    measured = classification.measure(task.classes, truth, probabilities, held_out.ids, training.ids, slices)
    assert isinstance(step.recipe, Recipe)
    files = measured.files | {
        samples.FILE: _shown(step.recipe.evaluation.samples, task.classes, texts, truth, probabilities)
    }
    measured = measured._replace(files=files)
    if not step.recipe.evaluation.baseline:
        return measured
    known = (_texts(task, "train", training.rows), training.labels)
    chosen_by = (_texts(task, "validation", validation.rows), validation.labels)
    shares = classification.shares(training.labels, truth, len(task.classes), measured.metrics["loss"])
    tfidf = baseline.of_words(known, chosen_by, (texts, truth), len(task.classes), measured.metrics)
    return measured._replace(baselines=(shares, *tfidf))


def length_of(tokens: int) -> str:
    """Return the slice of a text by its length: a range that ends at a power of two.

    Args:
        tokens: How many tokens the text has.
    """
    last = max(8, 1 << (tokens - 1).bit_length())
    return f"up to {last} tokens" if last == 8 else f"{last // 2 + 1} to {last} tokens"


@torch.no_grad()
def _probabilities(task: Any, model: torch.nn.Module, examples: Any) -> np.ndarray:
    """Return the probability of each class, float64, (examples, classes)."""
    where = hardware.pick_device()
    model.to(where).eval()
    parts = []
    for first in range(0, len(examples), BATCH):
        batch = to_device(examples.batch(np.arange(first, min(first + BATCH, len(examples)))), where)
        parts.append(torch.softmax(task.answers(model, batch).double(), dim=1).cpu())
    return torch.cat(parts).numpy()


def _texts(task: Any, split: str, rows: np.ndarray) -> list[str]:
    texts = json.loads(task.files[f"texts/{split}.json"].read_text("utf-8"))
    return [texts[row] for row in rows.tolist()]


def _shown(most: int, classes: list[str], texts: list[str], truth: np.ndarray, probabilities: np.ndarray) -> list[Any]:
    """Return texts that are spread evenly over the test split."""
    wanted = min(most, len(texts))
    places = np.linspace(0, len(texts) - 1, wanted).round().astype(int) if wanted else np.array([], int)
    predicted = probabilities.argmax(axis=1)
    return [
        samples.text(
            text=texts[place],
            expected=classes[truth[place]],
            found=f"{classes[predicted[place]]} ({probabilities[place].max():.0%})",
        )
        for place in places.tolist()
    ]
