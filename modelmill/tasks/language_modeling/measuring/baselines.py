"""Baselines that a language model must beat: counts of training tokens, and the model before fine-tuning."""

import math
from typing import Any

import numpy as np

from modelmill.champion.comparison.bootstrap import paired
from modelmill.measures.evaluation_result import Baseline
from modelmill.measures.ngrams import NGrams
from modelmill.store.manifest import Manifest
from modelmill.tasks.language_modeling.measuring.examples import Row, of_split, spans

METRIC = "response_bits_per_byte"
# The most training tokens that n-grams are counted in.
COUNTED = 20_000_000
Responses = dict[int, np.ndarray]


def of_documents(task: Any, corpus: Manifest, order: int, value: float) -> list[Baseline]:
    """Return baselines in bits per byte: token frequencies, and n-grams, of the first `COUNTED` training tokens.

    Every held-out token is predicted.

    Args:
        task: The task, as `make_task` returns it.
        corpus: Manifest of the corpus.
        order: Tokens of the n-grams.
        value: The model's bits per byte.
    """
    training = _documents(of_split(task, "documents", "train").shards, COUNTED)
    held_out = of_split(task, "documents", "test").shards
    baselines = []
    for n in sorted({1, order}):
        known = NGrams(*training, n, task.vocab_size)
        nats = math.fsum(known.losses(*_documents([shard])).sum() for shard in held_out if len(shard.tokens) > 1)
        bits = nats / math.log(2) / corpus.info["splits"]["test"]["bytes"]
        what = "the frequencies of the tokens" if n == 1 else f"{n}-grams of tokens"
        baselines.append(Baseline("bits_per_byte", what, value, most=bits))
    return baselines


def of_responses(
    task: Any, described: dict[int, Row], before: list[Row], after: list[Row], order: int
) -> list[Baseline]:
    """Return the baselines of responses: the model before fine-tuning, if it was measured, and n-grams.

    Args:
        task: The task, as `make_task` returns it.
        described: The columns of each pair that are the same for every model.
        before: Rows of the model before fine-tuning; none if it was not measured.
        after: Rows of the fine-tuned model.
        order: Tokens of the n-grams.
    """
    training, held_out = (
        {number: tokens[learned] for number, (tokens, learned) in enumerate(spans(examples)) if learned.any()}
        for examples in (of_split(task, "pairs", split) for split in ("train", "test"))
    )
    losses = response_losses(training, held_out, order, task.vocab_size)
    counted = {described[number]["example"]: loss for number, loss in losses.items()}
    what = f"{order}-grams of tokens of training responses"
    baselines = [baseline(what, after, [counted[row["example"]] for row in after])]
    if before:
        was = {row["example"]: row["loss"] for row in before}
        baselines.append(baseline("before fine-tuning", after, [was[row["example"]] for row in after]))
    return baselines


def response_losses(training: Responses, held_out: Responses, order: int, vocabulary: int) -> dict[int, float]:
    """Return the loss of held-out responses by n-grams of the training ones, in nats.

    Args:
        training: Token ids of training responses, by the pair's number.
        held_out: Token ids of held-out responses, by the pair's number.
        order: Tokens of the n-grams.
        vocabulary: Size of the vocabulary.
    """
    known = NGrams(*_joined(training), order, vocabulary)
    return dict(zip(held_out, known.losses(*_joined(held_out)).tolist(), strict=True))


def baseline(what: str, rows: list[Row], its_losses: list[float]) -> Baseline:
    """Return the baseline in bits per byte of responses, with the interval in which the model is better.

    Args:
        what: The baseline in words.
        rows: The model's rows.
        its_losses: The baseline's loss of the same examples, in nats.
    """
    losses, size = (np.array([row[column] for row in rows]) for column in ("loss", "bytes"))
    bits = np.array(its_losses) / math.log(2)
    mine = losses / math.log(2)
    interval = paired(bits - mine, size)
    value, most = (float(one.sum() / size.sum()) for one in (mine, bits))
    return Baseline(METRIC, what, value, most=most, better_by=(interval.low, interval.high))


def _joined(responses: Responses) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of all responses, and where each begins, with the end of the last."""
    offsets = np.cumsum([0, *(len(tokens) for tokens in responses.values())])
    return np.concatenate(list(responses.values())), offsets


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
