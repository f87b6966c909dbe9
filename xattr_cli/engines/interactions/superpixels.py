"""Superpixels: patches of an image that follow its edges, by scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import JobError
from ...importing import import_optional

__all__ = ["superpixels"]

_COMPACTNESS = 0.1  # of images between 0 and 1: patches follow edges, and are not ragged
_SMOOTHING = 1.0  # pixels


def superpixels(images: np.ndarray, count: int, needed_by: str = "groups: {segments: ...}") -> np.ndarray:
    """Segments of each image by simple linear iterative clustering; no more than `count`, numbered from 0.

    An image's segments depend on nothing but the image.

    Reference: Achanta et al. 2012, "SLIC superpixels compared to state-of-the-art superpixel methods".

    Arguments:
        images: (rows, channels, height, width) or (rows, height, width), of any range.
        count: most segments.
        needed_by: what an error says needs scikit-image.

    Returns:
        (rows, height, width) int64.

    Raises:
        JobError: scikit-image is not installed.
    """
    segmentation = import_optional(
        "skimage.segmentation", needed_by=needed_by, install="xattr-cli[segments]", error=JobError
    )
    return np.stack([_segments(segmentation, _to_unit_range(image), count) for image in images])


def _segments(segmentation: Any, image: np.ndarray, count: int) -> np.ndarray:
    """(height, width) int64, at most `count` different ones."""
    asked = count
    while True:
        segments = segmentation.slic(
            image,
            n_segments=asked,
            compactness=_COMPACTNESS,
            sigma=_SMOOTHING,
            start_label=0,
            channel_axis=0 if image.ndim == 3 else None,
        )
        labels = np.unique(segments, return_inverse=True)[1].reshape(segments.shape).astype(np.int64)
        surplus = int(labels.max()) + 1 - count
        if surplus <= 0 or asked == 1:
            return np.asarray(np.minimum(labels, count - 1))
        asked = max(1, asked - surplus)


def _to_unit_range(image: np.ndarray) -> np.ndarray:
    finite = np.nan_to_num(image.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(finite.max())
    return np.asarray((finite - low) / (high - low if high > low else 1.0))
