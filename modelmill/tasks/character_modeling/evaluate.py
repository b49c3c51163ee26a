"""Evaluation of a recurrent language model: bits per byte, also of the pretrained one and of n-grams, and samples."""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from modelmill.champion.comparison import rows
from modelmill.measures import samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.measures.ngrams import NGrams
from modelmill.recipe.step_specs import FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.character_modeling.generation import generate
from modelmill.tasks.character_modeling.recipe import Recipe
from modelmill.tasks.character_modeling.symbols import BOUNDARY, SYMBOLS
from modelmill.training import loading
from modelmill.training.device import hardware

# Documents of a batch, and symbols of each piece; the state is carried from piece to piece.
BATCH, PIECE = 64, 512
# The least bytes of a middling document, and of a long one.
MIDDLING, LONG = 200, 1000


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the bits per byte of the test split's documents.

    `bits_per_byte` is of the corpus that was trained on last, `bits_per_byte_before` the same of the pretrained model,
    where it was fine-tuned. Every document is read from its own beginning, and its end is predicted too.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings, seed = recipe.evaluation, recipe.seed
    tuned, pretrained = step.inputs[FINE_TUNED], step.inputs[PRETRAINED]
    is_tuned = bool(tuned.info["trained"]) and tuned.info["stage"] == "fine_tuning"
    last = "fine_tuning" if is_tuned else "pretraining"
    held_out, training = (task.examples(last, split) for split in ("test", "train"))
    documents, opening = held_out.documents(), held_out.opening

    model = _load(step, task, tuned)
    step.progress(0, 3, "held-out documents")
    losses = {"after": document_losses(model, documents, opening)}
    if is_tuned and pretrained.entries:
        step.progress(1, 3, "held-out documents, before fine-tuning")
        losses["before"] = document_losses(_load(step, task, pretrained), documents, opening)
    size = sum(len(document) - 1 for document in documents)
    bits = {when: float(of.sum()) / math.log(2) / size for when, of in losses.items()}
    metrics = {"bits_per_byte": bits["after"]}
    baselines = []
    if "before" in bits:
        metrics["bits_per_byte_before"] = bits["before"]
        baselines.append(Baseline("bits_per_byte", "before fine-tuning", bits["after"], most=bits["before"]))
    if settings.baseline:
        step.progress(2, 3, "n-grams")
        order = settings.ngram_order
        known = NGrams(training.tokens, training.offsets, order, SYMBOLS)
        losses["n-grams"] = known.losses(held_out.tokens, held_out.offsets)
        bound = float(losses["n-grams"].sum()) / math.log(2) / size
        baselines.append(Baseline("bits_per_byte", f"{order}-grams", bits["after"], most=bound))
    table = _rows(losses, documents, held_out.ids, training.ids)
    shown = generate(model, documents, settings, opening, seed)
    return EvaluationResult(metrics, table, {samples.FILE: shown}, tuple(baselines) if settings.baseline else ())


@torch.no_grad()
def document_losses(model: Any, documents: list[np.ndarray], opening: int) -> np.ndarray:
    """Return the loss of each document in nats: float64, (documents,).

    Args:
        model: A `CharacterRNN`.
        documents: Symbols of each document, BOUNDARY last.
        opening: How many BOUNDARY symbols precede a document, as in training.
    """
    device = next(model.parameters()).device
    losses = np.zeros(len(documents))
    order = np.argsort([len(document) for document in documents], kind="stable")
    for first in range(0, len(order), BATCH):
        members = order[first : first + BATCH]
        longest = max(len(documents[number]) for number in members)
        symbols = np.full((len(members), opening + longest), BOUNDARY, np.int64)
        is_own = np.zeros((len(members), longest), bool)
        for row, number in enumerate(members):
            symbols[row, opening : opening + len(documents[number])] = documents[number]
            is_own[row, : len(documents[number])] = True
        given = torch.from_numpy(symbols).to(device)
        _, state = model.read(given[:, : opening - 1])
        for begin in range(0, longest, PIECE):
            end = min(begin + PIECE, longest)
            logits, state = model(given[:, opening - 1 + begin : opening - 1 + end], state)
            labels = given[:, opening + begin : opening + end]
            nats = F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none").double().cpu().numpy()
            losses[members] += (nats * is_own[:, begin:end]).sum(axis=1)
    return losses


def _load(step: Step, task: Any, model: Manifest) -> torch.nn.Module:
    loaded: torch.nn.Module = task.load(loading.fetch_model(step, model))
    return loaded.to(hardware.pick_device()).eval()


def _rows(
    losses: dict[str, np.ndarray], documents: list[np.ndarray], ids: np.ndarray, training_ids: np.ndarray
) -> list[dict[str, Any]]:
    """Return a row for each document and model."""
    names = rows.unique_ids(f"{one:016x}" for one in ids.tolist())
    seen = np.isin(ids, training_ids)
    return [
        {
            "example": name,
            "set": "documents",
            "model": model,
            "slices": [f"length={_length(len(document) - 1)}"],
            "loss": float(of_model[number]),
            "weight": float(len(document)),
            "bytes": float(len(document) - 1),
            "contaminated": bool(seen[number]),
        }
        for model, of_model in losses.items()
        for number, (name, document) in enumerate(zip(names, documents, strict=True))
    ]


def _length(size: int) -> str:
    return "short" if size < MIDDLING else "middling" if size < LONG else "long"
