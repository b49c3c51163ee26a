"""Losses of preferences, a number a pair or an answer, from log-probabilities of whole answers.

Log-probabilities are sums over an answer's tokens in nats. Numbers agree with TRL's trainers; where a paper and TRL
differ, TRL's reading is said.
"""

import torch
import torch.nn.functional as F

from modelmill.tasks.language_modeling.objectives.settings import Preference


def dpo(ratios: torch.Tensor, lengths: torch.Tensor, settings: Preference) -> torch.Tensor:
    """Return the loss of each pair, fp32, (pairs,).

    `ipo` takes means over tokens, as its authors told TRL's they do.

    Args:
        ratios: Log-probability under the model less that under the reference, of the better and the worse answer,
            (pairs, 2).
        lengths: Tokens of both answers, (pairs, 2).
        settings: Which loss.
    """
    if settings.length_normalised or settings.loss == "ipo":
        ratios = ratios / lengths.clamp(min=1)
    margin = ratios[:, 0] - ratios[:, 1]
    if settings.loss == "ipo":
        return (margin - 1 / (2 * settings.beta)) ** 2
    if settings.loss == "hinge":
        return torch.relu(1 - settings.beta * margin)
    smoothing = settings.label_smoothing
    right, wrong = F.logsigmoid(settings.beta * margin), F.logsigmoid(-settings.beta * margin)
    return -(1 - smoothing) * right - smoothing * wrong if smoothing else -right


def orpo(answers: torch.Tensor, lengths: torch.Tensor, settings: Preference) -> torch.Tensor:
    """Return the loss of each pair's odds ratio, fp32, (pairs,); that of the better answer's tokens comes beside it.

    Args:
        answers: Log-probability of the better and the worse answer, (pairs, 2).
        lengths: Tokens of both answers, (pairs, 2).
        settings: `beta` is the weight.
    """
    means = answers / lengths.clamp(min=1)
    odds = means - _log_of_the_rest(means)
    return -settings.beta * F.logsigmoid(odds[:, 0] - odds[:, 1])


def _log_of_the_rest(logs: torch.Tensor) -> torch.Tensor:
    """Return log(1 - exp(x)) of negative numbers, in the form that is exact on each side of -log 2."""
    is_small = logs < -0.6931471805599453
    low, high = torch.where(is_small, logs, -1.0), torch.where(is_small, -0.5, logs)
    return torch.where(is_small, torch.log1p(-torch.exp(low)), torch.log(-torch.expm1(high)))


def kto(ratios: torch.Tensor, is_good: torch.Tensor, divergence: torch.Tensor, settings: Preference) -> torch.Tensor:
    """Return the loss of each answer, fp32, (answers,).

    Args:
        ratios: Log-probability under the model less that under the reference, (answers,).
        is_good: Whether somebody called the answer good, bool, (answers,).
        divergence: The step's estimate of the divergence from the reference, not negative, a scalar.
        settings: `beta` and the weights of good and bad answers.
    """
    signs = torch.where(is_good, 1.0, -1.0)
    weights = torch.where(is_good, settings.good_weight, settings.bad_weight)
    return weights * (1 - torch.sigmoid(settings.beta * signs * (ratios - divergence)))
