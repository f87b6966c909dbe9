"""Opening datasets as a job would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xattr_cli.datasets import Samples, open_dataset
from xattr_cli.errors import DataError, ExitCode, JobError
from xattr_cli.job.config import resolve_plugin
from xattr_cli.registry import DATASETS


def source(folder: Path, kind: str, **options: Any) -> Any:
    """The dataset source of `{kind: ..., **options}` in a job file in `folder`."""
    return resolve_plugin(DATASETS, {"kind": kind, **options}, {"folder": folder})


def opened(folder: Path, kind: str, **options: Any) -> Samples:
    """The open dataset."""
    return open_dataset(source(folder, kind, **options))


def whole(samples: Samples) -> Any:
    """All samples as one batch."""
    return samples.read(0, len(samples))


def refused(folder: Path, message: str, kind: str, **options: Any) -> None:
    """Check that the dataset is refused before anything is computed, with a message."""
    with pytest.raises(JobError, match=message) as caught:
        opened(folder, kind, **options)
    assert caught.value.exit_code == ExitCode.USAGE
    assert isinstance(caught.value, DataError)


def random(*shape: int) -> np.ndarray:
    """Standard normal float32 values."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
