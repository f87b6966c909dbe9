"""How often predictions agree with labels: what unmasks unscaled inputs, swapped columns and other numberings."""

from __future__ import annotations

import numpy as np

__all__ = ["agreement_text"]

_FEWEST = 3


def agreement_text(sample: np.ndarray, label: np.ndarray, prediction: np.ndarray) -> str:
    """A sentence on predictions and labels; empty where they cannot be compared.

    Arguments:
        sample: (rows,) of which each is counted once.
        label: (rows,) class numbers, −1 where there is none; or values of a regression.
        prediction: (rows,) classes, −1 where none is predicted; or values.

    Example:
        >>> agreement_text(np.arange(3), np.array([0, 1, 1]), np.array([0, 1, 0]))
        'predictions agree with labels in 2 of 3 samples'
    """
    first = np.unique(sample, return_index=True)[1]
    label, prediction = label[first], prediction[first]
    if label.dtype.kind == "i" and prediction.dtype.kind == "i":
        return _of_classes(label, prediction)
    if prediction.dtype.kind == "f":
        return _of_values(np.where(label >= 0, label, np.nan) if label.dtype.kind == "i" else label, prediction)
    known = np.isfinite(label)
    if known.any() and np.array_equal(label[known], label[known].round()):  # classes, stored as floats
        return _of_classes(np.where(known, label, -1).astype(np.int64), prediction)
    return ""


def _of_classes(label: np.ndarray, prediction: np.ndarray) -> str:
    known = (label >= 0) & (prediction >= 0)
    total = int(known.sum())
    if not total:
        return ""
    right = int((label == prediction)[known].sum())
    text = f"predictions agree with labels in {right} of {total} samples"
    most = int(np.unique(label[known], return_counts=True)[1].max())
    if total >= 20 and right <= most < total:
        # a trained network does better: inputs are not scaled as in training, or columns or classes are swapped
        text += f", no more than if each were the most frequent class ({most}): check scaling and order"
    return text


def _of_values(label: np.ndarray, prediction: np.ndarray) -> str:
    known = np.isfinite(label) & np.isfinite(prediction)
    if known.sum() < _FEWEST or not label[known].std() or not prediction[known].std():
        return ""
    correlation = np.corrcoef(label[known], prediction[known])[0, 1]
    return f"predictions correlate with labels by {correlation:.2f} over {int(known.sum())} samples"
