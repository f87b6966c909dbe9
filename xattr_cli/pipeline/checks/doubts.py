"""What labels and outputs say about each other that may not be what was meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...datasets import Samples
from ...device.outputs import OutputView
from ...job.config import Job

__all__ = ["doubts"]


def doubts(job: Job, view: OutputView, samples: Samples, names: Sequence[str]) -> tuple[str, ...]:
    """Notes on what passes, though it may be a mistake: targets of a regression, labels 1 and 2 of one output."""
    classes, labels = (view.shape or (1,))[view.class_axis], samples.known_labels()
    several = samples.read(0, 1).several
    regression = several is not None and not np.isin(several, (0, 1)).all()
    if regression and classes > 1 and job.target.select in ("predicted", "second"):
        return (
            f"labels are values of a regression, of which target: {job.target.select} takes the largest; name an "
            "output with target: {index: ...}, or explain all",
        )
    if classes == 1 and labels is not None and np.issubdtype(labels.dtype, np.integer) and not names:
        found = np.unique(labels[labels >= 0]).tolist()
        if len(found) == 2 and found != [0, 1]:
            return (
                f"one output and the labels {found[0]} and {found[1]}: explained as a number; those of a binary "
                "classifier are 0 and 1",
            )
    return ()
