"""A dataset that is computed: waves of one, two or three periods."""

import numpy as np
from pydantic import Field

from xattr_cli.plugins import (
    ArraySamples,
    Column,
    DatasetSource,
    InputSpec,
    Samples,
    as_labels,
    fingerprint_arrays,
)


class Waves(DatasetSource):
    """Sine waves, labelled by how many periods they have."""

    count: int = Field(default=30, ge=1, description="number of waves")
    length: int = Field(default=16, ge=4, description="values per wave")

    def open(self) -> Samples:
        periods = np.arange(self.count) % 3
        time = np.linspace(0, 2 * np.pi, self.length, endpoint=False)
        phase = np.arange(self.count)[:, None]
        waves = np.sin((periods[:, None] + 1) * time + phase)
        spec = InputSpec("wave", (self.length,), np.dtype(np.float32), axes=("time",))
        labels = as_labels(periods, "dataset.periods", ("one", "two", "three"))
        return ArraySamples([Column(spec, waves)], labels, fingerprint=fingerprint_arrays([waves]))
