"""Evaluation of a text classifier, with TF-IDF as a baseline."""

from typing import Any

import numpy as np
import torch

from modelmill.measures import samples
from modelmill.measures.evaluation_result import EvaluationResult
from modelmill.recipe.step_specs import FINE_TUNED
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.text_classification.kinds import MULTI, SINGLE
from modelmill.tasks.text_classification.measuring import Measuring, Split
from modelmill.tasks.text_classification.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

BATCH = 128


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the test split's texts; see `Measuring`.

    The baselines are the shares of the classes, or the mean, and a linear model on TF-IDF, fitted on the labels that
    fine-tuning has seen.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    model = task.load(loading.fetch_model(step, step.inputs[FINE_TUNED]))
    training, validation, held_out = (task.examples("fine_tuning", split) for split in ("train", "validation", "test"))
    answers = _answers(task, model, held_out)
    measuring = Measuring(task.kind, task.classes, recipe.seed)
    slices = [[f"length={length_of(int(tokens))}"] for tokens in held_out.lengths]
    asked, known = _whole(held_out), _whole(training)
    measured = measuring.measure(asked, known, answers, slices)
    shown = _shown(recipe.evaluation.samples, measuring, asked, answers)
    measured = measured._replace(files=measured.files | {samples.FILE: shown})
    if not recipe.evaluation.baseline:
        return measured
    return measured._replace(baselines=measuring.baselines(known, _whole(validation), asked, measured.metrics))


def length_of(tokens: int) -> str:
    """Return the slice of a text by its length: a range that ends at a power of two.

    Args:
        tokens: How many tokens the text has.
    """
    last = max(8, 1 << (tokens - 1).bit_length())
    return f"up to {last} tokens" if last == 8 else f"{last // 2 + 1} to {last} tokens"


@torch.no_grad()
def _answers(task: Any, model: torch.nn.Module, examples: Any) -> np.ndarray:
    """Return what the model says: probabilities, float64, (examples, classes), or numbers, (examples,)."""
    where = hardware.pick_device()
    model.to(where).eval()
    parts = []
    for first in range(0, len(examples), BATCH):
        batch = to_device(examples.batch(np.arange(first, min(first + BATCH, len(examples)))), where)
        parts.append(_scaled(task, task.answers(model, batch).double()).cpu())
    return torch.cat(parts).numpy()


def _scaled(task: Any, logits: torch.Tensor) -> torch.Tensor:
    if task.kind == SINGLE:
        return torch.softmax(logits, dim=1)
    if task.kind == MULTI:
        return torch.sigmoid(logits)
    mean, deviation = task.scale
    return mean + deviation * logits[:, 0]


def _whole(examples: Any) -> Split:
    return Split([examples.text(index) for index in range(len(examples))], examples.labels, examples.ids)


def _shown(most: int, measuring: Measuring, held_out: Split, answers: np.ndarray) -> list[Any]:
    """Return texts that are spread evenly over the test split."""
    wanted = min(most, len(held_out.texts))
    places = np.linspace(0, len(held_out.texts) - 1, wanted).round().astype(int) if wanted else np.array([], int)
    return [
        samples.text(
            **_parts(held_out.texts[place]),
            expected=measuring.expected(held_out.labels[place]),
            found=measuring.found(answers[place]),
        )
        for place in places.tolist()
    ]


def _parts(text: Any) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}
