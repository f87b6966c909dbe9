"""A dataset read from end to end in blocks of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

from ..samples import Batch
from .base import Samples

__all__ = ["blocks"]

_BLOCK_BYTES = 16 * 2**20


def blocks(samples: Samples, block_bytes: int = _BLOCK_BYTES) -> Iterator[Batch]:
    """All samples in order, in batches of about `block_bytes` of inputs, at least one sample each."""
    sample_bytes = sum(spec.size * spec.dtype.itemsize for spec in samples.inputs)
    rows = max(1, block_bytes // max(1, sample_bytes))
    for start in range(0, len(samples), rows):
        yield samples.read(start, min(start + rows, len(samples)))
