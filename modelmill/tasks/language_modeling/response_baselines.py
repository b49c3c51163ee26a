"""Baselines of responses, that a fine-tuned model must beat by more than chance."""

import math
from typing import Any

import numpy as np

from modelmill.champion.comparison.bootstrap import paired
from modelmill.measures.evaluation_result import Baseline
from modelmill.measures.ngrams import NGrams

METRIC = "response_bits_per_byte"
Row = dict[str, Any]
Responses = dict[int, np.ndarray]


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
