"""Samples in memory whose steps are tokens with names of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..datasets.base import Samples
from ..datasets.padded import PaddedSamples, PaddedSequence, check_lengths
from ..errors import DataError
from ..samples import Batch

__all__ = ["TokenSamples"]

TOKEN = "token"


class TokenSamples(PaddedSamples):
    """Samples with a text for every step that is no padding.

    Arguments:
        samples: the inputs; those with as many steps as the first one run along the tokens.
        tokens: of each sample, as many as it has steps without its padding.

    Raises:
        DataError: samples and tokens are not equally many, or a sample has more tokens than steps, or none.
    """

    def __init__(self, samples: Samples, tokens: Sequence[Sequence[str]]) -> None:
        lengths = np.array([len(each) for each in tokens], dtype=np.int64)
        shape = samples.inputs[0].shape
        steps = shape[0] if shape else 0
        if len(tokens) != len(samples):
            raise DataError(f"tokens: {len(tokens)} lists of them; there are {len(samples)} samples.")
        check_lengths(lengths, "tokens")
        if (longest := int(lengths.argmax())) >= 0 and lengths[longest] > steps:
            raise DataError(f"tokens: sample {longest} has {lengths[longest]}; the input has {steps} steps.")
        along = tuple(spec.name for spec in samples.inputs if spec.shape[:1] == (steps,))
        super().__init__(samples, (PaddedSequence(TOKEN, lengths, steps, along),))
        self._names = [list(map(str, each)) for each in tokens]
        self._steps = steps

    def read(self, start: int, stop: int) -> Batch:
        batch = super().read(start, stop)
        names = [each + [""] * (self._steps - len(each)) for each in self._names[start:stop]]
        return replace(batch, tokens={TOKEN: np.array(names, dtype=object).reshape(-1, self._steps)})
