"""Kinds of labels: one class a text, any number of labels, or a number."""

import numpy as np

SINGLE, MULTI, NUMBER = "single", "multi", "number"
# What the configurations of transformers call them.
PROBLEMS = {
    SINGLE: "single_label_classification",
    MULTI: "multi_label_classification",
    NUMBER: "regression",
}
# In the place of labels that fine-tuning must not see; where labels are numbers, that is no number.
UNLABELLED, HIDDEN = -1, 255


def is_labelled(values: np.ndarray) -> np.ndarray:
    """Return which texts have labels that fine-tuning may see: bool, (texts,).

    Args:
        values: Numbers of classes, int64, (texts,), `UNLABELLED` where it may not; or whether a text has a label,
            uint8, (texts, classes), `HIDDEN` likewise; or numbers, float64, (texts,), NaN likewise.
    """
    if values.dtype == np.uint8:
        return np.asarray(values[:, 0] != HIDDEN)
    return np.asarray(~np.isnan(values) if values.dtype == np.float64 else values >= 0)
