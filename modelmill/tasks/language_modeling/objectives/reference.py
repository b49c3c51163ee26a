"""Log-probabilities of answers under the reference, which is the model before fine-tuning: computed once and kept.

They depend on that model and the corpus, and not on the learning rate, the loss or what is trained, so runs that change
only these find them. They are computed before adapters are added: no second model is held, nor are adapters switched
off and on.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from modelmill.recipe import Training
from modelmill.recipe.step_specs import PRETRAINED
from modelmill.runtime.model_form import MODEL_FOLDER
from modelmill.runtime.step_runtime import Step
from modelmill.tasks.language_modeling.objectives import answer_scores, kept_arrays
from modelmill.tasks.language_modeling.objectives.answer_rows import AnswerRows
from modelmill.training.device import hardware, precision, world

log = logging.getLogger("modelmill")
# First part of keys in the store.
PREFIX = "reference_scores"
# Splits that training reads.
SPLITS = ("train", "validation")


class Reference(NamedTuple):
    """Scores under the reference.

    Attributes:
        scores: By split, log-probabilities of both answers of each example, fp32, (examples, 2).
        digests: By split, the digest of the array.
    """

    scores: dict[str, np.ndarray]
    digests: dict[str, str]


def of(step: Step, task: Any, model: Any, settings: Training, rows: Callable[[str], AnswerRows]) -> Reference:
    """Return the scores of the training and validation splits.

    Args:
        step: The running step.
        task: The task.
        model: The model before training, on the CPU and without adapters; it is left as it is.
        settings: The stage's settings.
        rows: Opens the examples of a split.
    """
    device, here = hardware.pick_device(), world.here()
    dtype = precision.compute_dtype(device, settings, task.mixed_precision)
    pretrained, corpus = step.inputs[PRETRAINED], task.corpus
    start: list[Any] = [[e.path, e.sha256] for e in pretrained.under(MODEL_FOLDER)]
    made_with = {
        "model": start or [step.recipe.seed, repr(task.settings)],
        "corpus": [[e.path, e.sha256] for e in corpus.entries if e.path.startswith(SPLITS) and ".pairs." in e.path],
        "sequence_length": task.length,
        "way": [task.way.words, rows(SPLITS[0]).shares],
        "computed": [device.type, str(dtype)],
    }

    computed = []

    def make() -> dict[str, np.ndarray]:
        computed.append(True)
        log.info("scores of answers under the reference: computed once, and kept for later runs")
        was_training = model.training
        model.to(device).eval()
        with precision.autocast(device, dtype):
            made = {
                split: answer_scores.of_split(
                    task, model, rows(split), here, lambda done, total: step.progress(done, total, "reference")
                )
                for split in SPLITS
            }
        model.to(torch.device("cpu")).train(was_training)
        return made

    found = Reference(*kept_arrays.find_or_make(step, PREFIX, made_with, make, here))
    if not computed:
        log.info("scores of answers under the reference: those that an earlier run kept")
    return found
