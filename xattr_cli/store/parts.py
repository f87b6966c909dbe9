"""The parts of a job: each complete and durable on its own, so that a killed run goes on where it was."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from ..errors import JobError, StoreError
from .checksums import broken_seals, lacks_seal, seal
from .columns import ResultColumn, check_column_lengths, write_attributes, write_column
from .durable import durable_hdf5, reason
from .folder import (
    MANIFEST,
    MERGE_STATE,
    claim,
    discard,
    give_up,
    memo_path,
    part_path,
    parts_folder,
    parts_there,
    set_aside,
)
from .locking import MERGE_LOCK, RunLock, waiting_lock
from .manifest import FORMAT, Manifest, finished_output, identity_attributes, read_manifest
from .merge import merge_parts
from .shard import Shard, gaps, shard_counts
from .survey import CODE_CHANGES, LAYOUT, REPAIR, datasets, layout_of, open_part, reading

__all__ = ["DamagedPartsError", "PartSet"]

_LOG = logging.getLogger(__name__)


class DamagedPartsError(StoreError):
    """Parts are not what was written, and were set aside: computed again, they can be merged."""


class PartSet:
    """The parts of one job, in the folder `<output>.parts`; to be used in a `with` statement.

    Attributes:
        output: the file that the parts are merged into.
        folder: where they are.
        manifest: the stored one: a resume takes the number of parts and the plan from it.
    """

    def __init__(
        self,
        output: Path,
        manifest: Manifest,
        *,
        compression: str = "none",
        lock: RunLock | None = None,
        accepted: Sequence[str] = (),
    ) -> None:
        self.output = output
        self.folder = parts_folder(output)
        self.manifest = manifest
        self._compression = None if compression == "none" else compression
        self._lock = lock
        self._accepted = "\n".join(accepted)
        self._reported: set[Path] = set()

    @classmethod
    def open(
        cls,
        output: Path,
        manifest: Manifest,
        *,
        compression: str = "none",
        overwrite: bool = False,
        shard: Shard | None = None,
        accept_changes: bool = False,
    ) -> PartSet:
        """Begin or resume a job; it stays locked against other processes until closed.

        Arguments:
            manifest: of the job as asked for; a stored one must agree in what decides the numbers, unless
                nothing durable has come of it yet.
            compression: "none", "gzip" or "lzf".
            overwrite: compute finished parts again (only those of `shard`, if it is the same job).
            shard: the share of this process; None if it computes everything.
            accept_changes: go on with parts that other code has computed; every further part says what differs.

        Raises:
            StoreError: the parts are of another job or code (names what changed), another process is
                at work, or the folder cannot be written.
        """
        stored, lock = claim(output, manifest, shard=shard, overwrite=overwrite, accept_changes=accept_changes)
        accepted = stored.code_changes(manifest)
        return cls(output, stored, compression=compression, lock=lock, accepted=accepted)

    @classmethod
    def existing(cls, output: Path) -> PartSet:
        """The parts that other processes left or are still writing: to count and merge them; takes no lock.

        Raises:
            StoreError: there are none.
        """
        folder = parts_folder(output)
        manifest = read_manifest(folder / MANIFEST)
        if manifest is None:
            raise StoreError(f"{folder}: there are no parts of {output.name}; run the job first.")
        return cls(output, manifest)

    def close(self) -> None:
        """Let other processes have the parts."""
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> PartSet:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # a job that is wrong is corrected, and then is another job
        if isinstance(error, JobError) and self._lock is not None:
            give_up(self.folder, self._lock)
        self.close()

    # --- one by one -----------------------------------------------------------------------------

    def finished(self) -> list[int]:
        """Numbers of the parts that are complete and of this job; a damaged one is logged as a warning."""
        return [part for part in range(self.manifest.parts) if self._is_finished(part)]

    def absent(self) -> list[int]:
        """Numbers of the parts that are not there, by one look at the folder; `missing` also opens files."""
        return sorted({*range(self.manifest.parts)} - parts_there(self.folder))

    def missing(self, shard: Shard | None = None) -> list[int]:
        """Numbers of the parts yet to be computed, whole or not at all: by `shard`, or by anybody."""
        parts = range(self.manifest.parts) if shard is None else shard.parts(self.manifest.parts)
        there = parts_there(self.folder)
        return [part for part in parts if part not in there or not self._is_finished(part)]

    def is_missing(self, part: int) -> bool:
        """Whether a part is yet to be computed."""
        return not self._is_finished(part)

    def write(
        self,
        part: int,
        columns: Mapping[str, ResultColumn],
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Put a part in its place: durably, and as a whole or not at all.

        Arguments:
            part: its number, from 0.
            columns: by path in the file, such as "engines/ig/attribution".
            attributes: by path of a group or dataset, the same for every part; those of the root
                belong to `merge`.

        Raises:
            StoreError: it cannot be written.
            ValueError: columns along the same axis have different lengths.
        """
        check_column_lengths(columns)
        with durable_hdf5(part_path(self.folder, part), finish=seal) as writer:
            compressed = {}
            for path, column in sorted(columns.items()):
                compressed[path] = write_column(writer.file, path, column, self._compression)
                writer.check()
            for path, values in sorted((attributes or {}).items()):
                target = writer.file[path] if path in writer.file else writer.file.create_group(path)
                write_attributes(target, values)
            accepted = {CODE_CHANGES: self._accepted} if self._accepted else {}
            layout = {LAYOUT: layout_of(columns, compressed)}
            write_attributes(writer.file, {**self._bookkeeping(part), **accepted, **layout, "complete": 1})

    def read(self, part: int, group: str) -> dict[str, np.ndarray]:
        """The numbers that a finished part holds under `group`, by their path below it.

        Raises:
            StoreError: the part cannot be read.
        """
        path = part_path(self.folder, part)
        for fault in broken_seals([path]).values():
            raise StoreError(f"{path}: {fault}. {REPAIR}")
        with open_part(path) as file, reading(path):
            arrays = datasets(file[group]) if group in file else {}
            return {name: data[()] for name, data in arrays.items() if data.dtype.kind in "biuf"}

    # --- on the way to a part -------------------------------------------------------------------

    def recall(self, label: str, name: str) -> dict[str, np.ndarray] | None:
        """What `keep` has kept under that name for this very job; None if there is nothing, or it is damaged."""
        path = memo_path(self.folder, label, name)
        if not path.exists() or broken_seals([path]) or _defect(path, {"job_hash": self._memo_hash}) is not None:
            return None
        with open_part(path) as file, reading(path):
            return {one: data[()] for one, data in datasets(file).items()}

    def keep(self, label: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays, durably, until the parts are discarded: steps of a long computation.

        Raises:
            StoreError: they cannot be written.
        """
        with durable_hdf5(memo_path(self.folder, label, name), finish=seal) as writer:
            for one, values in sorted(arrays.items()):
                write_column(writer.file, one, ResultColumn(np.asarray(values), axis="single"), None)
                writer.check()
            write_attributes(writer.file, {"job_hash": self._memo_hash, "complete": 1})

    @property
    def _memo_hash(self) -> str:
        manifest = self.manifest
        return " ".join((manifest.job_hash, manifest.checkpoint_hash, manifest.dataset_hash, self._accepted))

    def _bookkeeping(self, part: int) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "part": part,
            "parts": self.manifest.parts,
            "job_hash": self.manifest.job_hash,
            "checkpoint_hash": self.manifest.checkpoint_hash,
            "dataset_hash": self.manifest.dataset_hash,
        }

    def _is_finished(self, part: int) -> bool:
        path = part_path(self.folder, part)
        if not path.exists():
            return False
        defect = _defect(path, self._bookkeeping(part))
        if defect is not None and path not in self._reported:
            self._reported.add(path)
            _LOG.warning("%s: %s; the part is computed again.", path, defect)
        return defect is None

    # --- all together ---------------------------------------------------------------------------

    def merge(self, attributes: Mapping[str, Any]) -> None:
        """Merge all parts into `output`; nothing to do if another process did it and discarded them.

        Arguments:
            attributes: root attributes of the result, besides those that the manifest has.

        Raises:
            DamagedPartsError: parts are not what was written, and were set aside; they are missing now.
            StoreError: parts are missing (says which and how to get them) or unreadable, or `output`
                cannot be written.
        """
        try:
            with waiting_lock(self.folder, MERGE_LOCK):
                if (self.folder / MANIFEST).exists():
                    self._merge(attributes)
                    return
        except FileNotFoundError:
            pass  # discarded, as below
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be locked for the merge: {reason(error)}.") from error
        if not finished_output(self.output, self.manifest, accept_changes=True):
            raise StoreError(f"{self.folder}: another process removed it; run the job again.")

    def _merge(self, attributes: Mapping[str, Any]) -> None:
        missing = self.missing()
        if missing:
            raise StoreError(f"{self.folder}: {self._how_to_get(missing)}")
        paths = [part_path(self.folder, part) for part in range(self.manifest.parts)]
        damaged = broken_seals(paths)
        if damaged:
            for path, fault in damaged.items():
                _LOG.warning("%s: %s; it is set aside.", path, fault)
                set_aside(path)
            lost = [part for part, path in enumerate(paths) if path in damaged]
            raise DamagedPartsError(
                f"{self.folder}: {len(lost)} damaged parts were set aside. Now {self._how_to_get(lost)}"
            )
        merge_parts(
            paths,
            self.output,
            rows=self.manifest.rows,
            attributes={**attributes, **identity_attributes(self.manifest)},
            state=self.folder / MERGE_STATE,
        )

    def _how_to_get(self, missing: Sequence[int]) -> str:
        return gaps(missing, self.manifest.parts, shard_counts(self.folder))

    def discard(self) -> None:
        """Delete the parts and let go of them; files that are not the store's own stay where they are."""
        discard(self.folder)
        self.close()


def _defect(path: Path, expected: Mapping[str, Any]) -> str | None:
    """What is wrong with a part, as far as a look at its end and its attributes tells; None if nothing is."""
    if fault := lacks_seal(path):
        return fault
    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = dict(file.attrs)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        return f"cannot be read ({reason(error)})"
    if attributes.get("complete") != 1:
        return "is not complete"
    other = [key for key, value in expected.items() if attributes.get(key) != value]
    return f"belongs to another job (other {', '.join(other)})" if other else None
