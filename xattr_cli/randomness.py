"""Random numbers that belong to a sample: the same for any batch, order, shard and resume."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

__all__ = ["Purpose", "dataset_generator", "sample_generator"]

_WHOLE_DATASET = 2**64 - 1


class Purpose(IntEnum):
    """What random numbers are for; different purposes never share any."""

    BASELINE = 1
    EXPECTATION = 2
    PLUGIN = 3
    EVALUATION = 4
    STABILITY = 5


def sample_generator(seed: int, sample: int, purpose: Purpose, stream: int = 0) -> np.random.Generator:
    """The generator of one sample; counter-based (Philox), so that making one costs microseconds.

    Arguments:
        seed: of the job.
        sample: position of the sample in its dataset.
        purpose, stream: which of many independent streams of that sample.
    """
    key = np.array([seed, sample], dtype=np.uint64)
    counter = np.array([0, 0, stream, purpose], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def dataset_generator(seed: int, purpose: Purpose, stream: int = 0) -> np.random.Generator:
    """The generator of what is drawn once for a whole dataset; the streams of a purpose are independent."""
    return sample_generator(seed, _WHOLE_DATASET, purpose, stream)
