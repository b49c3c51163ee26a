"""Losses of each kind of label, as transformers has them, summed over texts."""

import numpy as np
import torch
import torch.nn.functional as F


def targets(labels: np.ndarray, scale: tuple[float, float] | None) -> torch.Tensor:
    """Return labels as `loss` takes them.

    Args:
        labels: As `kinds.is_labelled` has them, all of them labelled.
        scale: Mean and standard deviation of numbers.
    """
    if labels.dtype == np.float64 and scale is not None:
        labels = (labels - scale[0]) / scale[1]
    return torch.from_numpy(labels if labels.dtype == np.int64 else labels.astype(np.float32))


def loss(logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
    """Return the summed loss of texts.

    Of classes it is the cross-entropy in nats; of any number of labels, the mean of their binary cross-entropies; of
    numbers, the squared error in standard deviations.

    Args:
        logits: The model's outputs, (texts, outputs).
        labels: Numbers of classes, int64, (texts,); or whether a text has a label, fp32, (texts, outputs); or numbers,
            standardised, fp32, (texts,).
        smoothing: The part of a class's probability that is spread over all.
    """
    if labels.dtype == torch.int64:
        return F.cross_entropy(logits.float(), labels, reduction="sum", label_smoothing=smoothing)
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none").mean(dim=1).sum()
    return (logits.float().squeeze(-1) - labels).square().sum()
