"""Evaluation of a language model: bits per byte of files, loss on pairs before and after fine-tuning, samples."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from modelmill.champion.comparison import rows
from modelmill.measures import contamination, samples
from modelmill.measures.evaluation_result import Baseline, EvaluationResult
from modelmill.measures.ngrams import NGrams
from modelmill.recipe.step_specs import FINE_TUNED, PRETRAINED
from modelmill.runtime.step_runtime import Step
from modelmill.store.manifest import Manifest
from modelmill.tasks.contract import Task
from modelmill.tasks.language_modeling import response_baselines
from modelmill.tasks.language_modeling.generation import generate
from modelmill.tasks.language_modeling.recipe import Recipe
from modelmill.training import loading
from modelmill.training.device import hardware
from modelmill.training.loop.feeding import to_device

BATCH = 16
# The least bytes of text of a middling example, and of a long one.
MIDDLING, LONG = 1000, 10_000
# The stage that each set of examples belongs to.
SOURCES = {"documents": "pretraining", "pairs": "fine_tuning"}
# The most training tokens that n-grams are counted in.
COUNTED = 20_000_000
Row = dict[str, Any]


def evaluate(step: Step, task: Any) -> EvaluationResult:
    """Return the evaluation of the held-out files and pairs.

    `bits_per_byte` is of the pretrained model (of the fine-tuned one where nothing was pretrained) over every token of
    the held-out files; it is not measured with `evaluation.documents: false`. `loss_before` and `loss_after` are mean
    nats per response token of held-out pairs, and `response_bits_per_byte` is of the same responses after fine-tuning.

    Args:
        step: The running step.
        task: The task, as `make_task` returns it.
    """
    recipe = step.recipe
    assert isinstance(recipe, Recipe)
    settings = recipe.evaluation
    corpus, pretrained, tuned = (step.inputs[name] for name in ("preprocessing.corpus", PRETRAINED, FINE_TUNED))
    documents = task.examples("pretraining", "test")
    pairs = task.examples("fine_tuning", "test")
    was_tuned = bool(tuned.info["trained"]) and tuned.info["stage"] == "fine_tuning"

    base = _load(step, task, pretrained if pretrained.entries else tuned)
    table: list[Row] = []
    metrics: dict[str, float] = {}
    baselines: list[Baseline] = []
    if settings.documents:
        step.progress(0, 4, "bits per byte")
        size = corpus.info["splits"]["test"]["bytes"]
        table = _rows(task, base, documents, _described(task, "documents"), "before", len(documents))
        metrics["bits_per_byte"] = _total(table, "loss") / math.log(2) / size
        baselines += _counted(task, corpus, settings.ngram_order, metrics["bits_per_byte"]) if settings.baseline else []
    if not was_tuned or not len(pairs):
        return EvaluationResult(metrics, table, {samples.FILE: []}, tuple(baselines))
    described = _described(task, "pairs")
    before: list[Row] = []
    if pretrained.entries:
        step.progress(1, 4, "held-out pairs, before fine-tuning")
        before = _rows(task, base, pairs, described, "before", settings.pair_windows)
        metrics["loss_before"] = _total(before, "loss") / max(1, _total(before, "weight"))
        table += before
    step.progress(2, 4, "held-out pairs, after fine-tuning")
    model = _load(step, task, tuned)
    after = _rows(task, model, pairs, described, "after", settings.pair_windows)
    metrics["loss_after"] = _total(after, "loss") / max(1, _total(after, "weight"))
    metrics["response_bits_per_byte"] = _total(after, "loss") / math.log(2) / max(1, _total(after, "bytes"))
    if settings.baseline and not settings.documents:
        baselines += _of_responses(task, described, before, after, settings.ngram_order)
    elif settings.baseline and before:
        baselines.append(
            Baseline("loss_after", "before fine-tuning", metrics["loss_after"], most=metrics["loss_before"])
        )
    step.progress(3, 4, "samples")
    generated = generate(task, model, pairs, corpus, settings)
    return EvaluationResult(metrics, table + after, {samples.FILE: generated}, tuple(baselines))


def _of_responses(
    task: Any, described: dict[int, Row], before: list[Row], after: list[Row], order: int
) -> list[Baseline]:
    """Return the baselines of responses: the model before fine-tuning, if it was measured, and n-grams."""
    training, held_out = (
        {number: tokens[learned] for number, (tokens, learned) in enumerate(_spans(examples)) if learned.any()}
        for examples in (task.examples("fine_tuning", split) for split in ("train", "test"))
    )
    losses = response_baselines.response_losses(training, held_out, order, task.vocab_size)
    counted = {described[number]["example"]: loss for number, loss in losses.items()}
    baselines = [
        response_baselines.baseline(
            f"{order}-grams of tokens of training responses", after, [counted[row["example"]] for row in after]
        )
    ]
    if before:
        was = {row["example"]: row["loss"] for row in before}
        losses_before = [was[row["example"]] for row in after]
        baselines.append(response_baselines.baseline("before fine-tuning", after, losses_before))
    return baselines


def _total(table: list[Row], column: str) -> float:
    return math.fsum(row[column] for row in table)


def _load(step: Step, task: Task, model: Manifest) -> torch.nn.Module:
    device = hardware.pick_device()
    loaded = loading.load_model(step, task, model).to(device).eval()
    return loaded.float() if device.type == "cpu" else loaded


def _described(task: Any, kind: str) -> dict[int, Row]:
    """Return the columns of a row that are the same for every model, by the example's number in the split."""
    held_out, training = (task.examples(SOURCES[kind], split) for split in ("test", "train"))
    seen = contamination.of_tokens(held_out, training)
    tokenizer = Tokenizer.from_file(str(task.files["tokenizer/tokenizer.json"]))
    texts = _texts(tokenizer, held_out)
    ids = rows.unique_ids(rows.id_of(*both) for both in texts.values())
    return {
        number: {
            "example": example,
            "set": kind,
            "slices": [f"length={_length(predicted)}"],
            "bytes": float(len(predicted.encode())),
            "contaminated": number in seen,
        }
        for (number, (_, predicted)), example in zip(texts.items(), ids, strict=True)
    }


def _rows(
    task: Any, model: torch.nn.Module, examples: Any, described: dict[int, Row], when: str, most: int
) -> list[Row]:
    """Return a row for each example that is wholly in the first `most` windows of the split."""
    losses, terms, cut = _losses(task, model, examples, most)
    return [
        {**row, "model": when, "loss": float(losses[number]), "weight": float(terms[number])}
        for number, row in described.items()
        if terms[number] and number != cut
    ]


def _losses(task: Any, model: torch.nn.Module, examples: Any, most: int) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Return each document's summed loss in nats, its number of labels, and the document that the windows cut off."""
    count = sum(shard.documents for shard in examples.shards)
    losses, terms, last = np.zeros(count), np.zeros(count), 0
    device = next(model.parameters()).device
    scored = min(most, len(examples))
    for first in range(0, scored, BATCH):
        indices = np.arange(first, min(first + BATCH, scored))
        batch, owners = examples.batch(indices), examples.documents(indices).ravel()
        nats = task.losses(model, to_device(batch, device)).double().cpu().numpy().ravel()
        counted = (batch["labels"] >= 0).numpy().ravel()
        losses += np.bincount(owners, nats, count)
        terms += np.bincount(owners, counted, count)
        last = int(owners[-1])
    is_cut = scored < len(examples) and int(examples.documents(np.array([scored]))[0, 0]) == last
    return losses, terms, last if is_cut else None


def _texts(tokenizer: Tokenizer, examples: Any) -> dict[int, tuple[str, str]]:
    """Return the given and the predicted text of each document or pair with something to predict."""
    parts: dict[int, list[list[int]]] = {}
    for number, (tokens, learned) in enumerate(_spans(examples)):
        if learned.any():
            parts[number] = [tokens[~learned].tolist(), tokens[learned].tolist()]
    texts = tokenizer.decode_batch([part for both in parts.values() for part in both], skip_special_tokens=True)
    return dict(zip(parts, zip(texts[::2], texts[1::2], strict=True), strict=True))


def _spans(examples: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the tokens of each document or pair, and which of them are learned; the END before it is never."""
    for shard in examples.shards:
        for begin, end in itertools.pairwise(shard.offsets.tolist()):
            tokens = shard.tokens[begin:end]
            learned = np.ones(len(tokens), bool) if shard.learned is None else shard.learned[begin:end].astype(bool)
            learned[:1] = shard.learned is None
            yield tokens, learned


def _length(text: str) -> str:
    size = len(text.encode())
    return "short" if size < MIDDLING else "middling" if size < LONG else "long"


def _counted(task: Any, corpus: Manifest, order: int, value: float) -> list[Baseline]:
    """Return baselines in bits per byte: token frequencies, and n-grams, of the first `COUNTED` training tokens.

    Every held-out token is predicted.
    """
    training = _documents(task.examples("pretraining", "train").shards, COUNTED)
    held_out = task.examples("pretraining", "test").shards
    baselines = []
    for n in sorted({1, order}):
        known = NGrams(*training, n, task.vocab_size)
        nats = math.fsum(known.losses(*_documents([shard])).sum() for shard in held_out if len(shard.tokens) > 1)
        bits = nats / math.log(2) / corpus.info["splits"]["test"]["bytes"]
        what = "the frequencies of the tokens" if n == 1 else f"{n}-grams of tokens"
        baselines.append(Baseline("bits_per_byte", what, value, most=bits))
    return baselines


def _documents(shards: Any, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of documents, or the first `most` of them, where each begins, and their end.

    A document's tokens are those after what opens it, with the END that closes it.
    """
    tokens, offsets, size = [], [], 0
    for shard in shards:
        # At least every other token is predicted.
        seen = len(shard.tokens) if most is None else min(len(shard.tokens), 2 * (most - size) + 2)
        predicted = np.ones(seen, bool) if shard.learned is None else shard.learned[:seen].astype(bool)
        predicted[:1] = False
        kept = shard.tokens[:seen][predicted][: None if most is None else most - size]
        begins = np.cumsum(predicted)[shard.offsets[:-1][shard.offsets[:-1] < seen]]
        tokens.append(kept)
        offsets.append(begins[begins < len(kept)] + size)
        size += len(kept)
    return np.concatenate(tokens), np.concatenate([*offsets, [size]])
