"""The median of the data as baseline."""

import numpy as np

from xattr_cli.plugins import Baseline, BoundBaseline, FixedBaseline, explained_specs


class Median(Baseline):
    """The median of every feature over the whole dataset."""

    def bind(self, samples, seed, inputs=None) -> BoundBaseline:
        batch = samples.read(0, len(samples))
        specs = explained_specs(samples, inputs)
        return FixedBaseline({spec.name: np.median(batch.inputs[spec.name], axis=0) for spec in specs})
