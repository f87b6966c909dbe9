"""The files behind a job, looked at again: a result must not mix what they were with what they have become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...datasets import Samples
from ...engines.population import Memo
from ...errors import DataError, RunError
from ...fingerprint import HashedFile, Stamp
from ...job.config import Job
from ...job.identity import named_files, named_paths

__all__ = ["CheckedMemo", "WatchedInputs", "stamps_of"]

MODEL = "model."


@dataclass(frozen=True)
class WatchedInputs:
    """What a job reads while it runs, as it was hashed when the job was opened.

    The files of the model are in memory by then, and may be written to.

    Attributes:
        files: dotted key of the job → the file that it names.
        samples: of the dataset.
    """

    files: Mapping[str, HashedFile]
    samples: Samples

    @classmethod
    def of(cls, job: Job, samples: Samples, before: Mapping[str, Stamp]) -> WatchedInputs:
        """What an open job reads.

        Arguments:
            job: the job.
            samples: of its dataset.
            before: what the files looked like before it was opened.

        Raises:
            RunError: a file has changed since then, so that nobody knows what was read of it.
        """
        files = named_files(job)
        for key, file in files.items():
            if file.stamp != before.get(key):
                raise _changed(key, file.path)
        return cls({key: file for key, file in files.items() if not key.startswith(MODEL)}, samples)

    def refuse_changes(self, start: int = 0, stop: int | None = None) -> None:
        """To be called after the samples start ≤ i < stop were read, before anything that came of them is kept.

        Raises:
            RunError: a file holds other bytes by now; names it.
        """
        for key, file in self.files.items():
            if file.has_changed():
                raise _changed(key, file.path)
        path = self.samples.changed(start, len(self.samples) if stop is None else stop)
        if path is not None:
            raise _changed("dataset", path)

    @contextmanager
    def true_reason(self) -> Iterator[None]:
        """Data that changed are named as the reason of what fails in the block.

        Raises:
            RunError: a file was written to.
        """
        try:
            yield
        except (DataError, RunError):
            self.refuse_changes()
            raise


def stamps_of(job: Job) -> dict[str, Stamp]:
    """Dotted key of the job → what the file that it names looks like now."""
    return {key: Stamp.of(path) for key, path in named_paths(job).items()}


def _changed(key: str, path: Path) -> RunError:
    return RunError(
        f"{key}: {path} was written to while the job ran. Parts finished before are kept, and are of what it held "
        "at the start: bring that back and run the same command to go on, or start again with --overwrite."
    )


@dataclass(frozen=True)
class CheckedMemo:
    """A memory that keeps nothing which came of changed data; see `engines.population.Memo`."""

    memo: Memo
    inputs: WatchedInputs

    def recall(self, label: str, name: str) -> dict[str, np.ndarray] | None:
        """What was kept."""
        return self.memo.recall(label, name)

    def keep(self, label: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays, if the data are what they were.

        Raises:
            RunError: they are not.
        """
        self.inputs.refuse_changes()
        self.memo.keep(label, name, arrays)
