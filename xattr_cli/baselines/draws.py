"""Random numbers that belong to a sample: the same for any batch, order, shard and resume."""

from __future__ import annotations

import numpy as np

__all__ = ["dataset_generator", "sample_generator"]

_BASELINES = 0xBA5E  # sets these draws apart from those that others key by seed and sample
_WHOLE_DATASET = 2**64 - 1


def sample_generator(seed: int, index: int, stream: int = 0) -> np.random.Generator:
    """Counter-based generator of one sample.

    Arguments:
        seed: of the job.
        index: position of the sample in its dataset.
        stream: tells the inputs of a sample apart.
    """
    key = np.array([seed, index], dtype=np.uint64)
    counter = np.array([0, 0, stream, _BASELINES], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def dataset_generator(seed: int) -> np.random.Generator:
    """Counter-based generator of what is drawn once for the whole dataset."""
    return sample_generator(seed, _WHOLE_DATASET)
