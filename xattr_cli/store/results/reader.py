"""A finished result file, read lazily: its rows, inputs and engines as typed attributes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ...errors import ResultError, nearest, reported, suggestion
from ...untrusted.files import oddity
from ..checksums import damage
from ..manifest import FORMAT
from ..survey import datasets
from .arrays import RowChoice, dataset, items_in, mapping, names_in, plain, read_rows, texts
from .effects import EffectResults
from .engines import EngineResults
from .inputs import InputResults

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EffectResults", "EngineResults", "InputResults", "ResultRows", "Results", "RowChoice"]


_SHOWN_FAULTS = 8


@dataclass(frozen=True)
class ResultRows:
    """What is explained: one entry per (sample, target).

    Attributes:
        id: (rows,) int64, number of the row in the whole job.
        sample: (rows,) int64, index of the sample in its dataset.
        label: (rows,) int64 class (-1: none) or float64 value (NaN: none).
        target: (rows,) int64, the explained output.
        prediction: (rows,) int64 predicted class, or float64 output of a single-output network.
    """

    id: np.ndarray
    sample: np.ndarray
    label: np.ndarray
    target: np.ndarray
    prediction: np.ndarray

    def __len__(self) -> int:
        return len(self.id)

    @property
    def is_regression(self) -> bool:
        """Whether the prediction is a value, not a class."""
        return bool(np.issubdtype(self.prediction.dtype, np.floating))

    @property
    def has_label(self) -> np.ndarray:
        """(rows,) bool, whether the row's sample has a label."""
        floats = np.issubdtype(self.label.dtype, np.floating)
        return np.asarray(~np.isnan(self.label) if floats else self.label >= 0)


class Results:
    """A finished result file, open for reading; use it in a `with` statement.

    Example:
        >>> with Results.open("runs/digits/attributions.h5") as results:  # doctest: +SKIP
        ...     first = results.engine("integrated_gradients").attribution(slice(0, 8))
    """

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a finished file.

        Raises:
            ResultError: no such file, not finished, not HDF5, truncated, or of another format.
        """
        path = Path(path)
        file = _open_hdf5(path)
        with reported(f"{path}: is damaged; copy or compute it again", ResultError):
            foreign = file.id.links.visit(_foreign, info=True)
            stored_format = plain(file.attrs.get("format"))
        if foreign is not None:
            file.close()
            # it would be followed there: to a pipe, say, which never ends
            raise ResultError(f"{path}: {foreign} is a link to another file, as no result has.")
        if stored_format != FORMAT:
            file.close()
            told = "it has no attribute 'format'" if stored_format is None else f"its format is {stored_format!r}"
            raise ResultError(f"{path}: not a result file of this version: {told}, expected {FORMAT!r}.")
        return cls(path, file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was read before stays."""
        self._file.close()

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Provenance: versions, device, hashes, host, start and end, command line."""
        return {key: plain(value) for key, value in self._file.attrs.items()}

    @cached_property
    def job(self) -> dict[str, Any]:
        """The job with every default spelled out."""
        return mapping(self.attributes.get("job"))

    @cached_property
    def rows(self) -> ResultRows:
        """What is explained, in the order of every engine's arrays."""
        names = ("id", "sample", "label", "target", "prediction")
        if "rows" not in self._file and "effects" in self._file:
            return ResultRows(**{name: np.empty(0, np.int64) for name in names})
        return ResultRows(**{name: read_rows(dataset(self._file, f"rows/{name}"), slice(None)) for name in names})

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the model's outputs; empty if the dataset knows none."""
        return texts(self._file, "classes")

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Names of what can be explained, where they are others than those of the classes; else empty."""
        return texts(self._file, "targets")

    @cached_property
    def outputs(self) -> np.ndarray:
        """(rows,) object, the output token of a continuation that each row explains; (0,) where there is none."""
        return np.array(texts(self._file, "rows/output"), dtype=object)

    @cached_property
    def stored(self) -> dict[int, int]:
        """Sample -> its position among the samples whose inputs are in the file."""
        if "samples/index" not in self._file:
            return {}
        index = read_rows(dataset(self._file, "samples/index"), slice(None))
        return {int(sample): position for position, sample in enumerate(index)}

    @cached_property
    def keys(self) -> dict[int, str]:
        """Stored sample -> printable name, such as a file name; empty if the dataset has none."""
        names = texts(self._file, "samples/key")
        return {sample: names[position] for sample, position in self.stored.items()} if names else {}

    @cached_property
    def sample_texts(self) -> dict[str, dict[int, str]]:
        """Name -> stored sample -> its text, such as the "smiles" of a molecule; empty if there are none."""
        names = items_in(self._file, "samples/texts")
        return {
            name: dict(zip(self.stored, texts(self._file["samples/texts"], name), strict=True)) for name in names
        }

    @cached_property
    def inputs(self) -> dict[str, InputResults]:
        """Name -> input tensor of the model."""
        groups = self._groups("inputs").values()
        return {one.name: one for one in (InputResults(group, self.stored) for group in groups)}

    def original(self, name: str, sample: int) -> np.ndarray:
        """(*shape,) float64, one stored sample's input in original units.

        Raises:
            ResultError: no such input, or the sample is not stored.
        """
        if name not in self.inputs:
            raise ResultError(f"{self.path}: no input {name!r}.{suggestion(name, self.inputs)}")
        return np.asarray(self.inputs[name].original([sample])[0])

    @cached_property
    def explained(self) -> tuple[str, ...]:
        """Names of the tensors that have maps: inputs of the model, or tensors inside it."""
        if "explained" in self._file:
            return texts(self._file, "explained")
        explain = self.job.get("explain")
        return tuple(explain.get("inputs", [])) if isinstance(explain, dict) else tuple(self.inputs)

    @cached_property
    def engines(self) -> dict[str, EngineResults]:
        """Label -> what that engine left, in the order of the job."""
        groups = self._groups("engines")
        tensor = next(iter(self.explained), "inputs")
        in_job = [label for label in self.job.get("engines", {}) if label in groups]
        labels = [*in_job, *(label for label in groups if label not in in_job)]
        return {label: EngineResults(groups[label], tensor) for label in labels}

    def engine(self, label: str) -> EngineResults:
        """What the engine of that label left.

        Raises:
            ResultError: no engine has that label.
        """
        if label not in self.engines:
            raise ResultError(f"{self.path}: no engine {label!r}.{suggestion(label, self.engines)}")
        return self.engines[label]

    @cached_property
    def effects(self) -> dict[str, EffectResults]:
        """Label -> what that population engine left, in the order of the job."""
        groups = self._groups("effects")
        return {label: EffectResults(groups[label]) for label in self.job.get("engines", {}) if label in groups}

    def _groups(self, room: str) -> dict[str, h5py.Group]:
        """The groups of one room of the file by name; none where it is no room, as in a file of others."""
        each = items_in(self._file, room)
        return {name: group for name, group in each.items() if isinstance(group, h5py.Group)}

    def datasets(self) -> dict[str, h5py.Dataset]:
        """Every array of the file by its path, for what reads it as a whole."""
        return datasets(self._file)

    @property
    def has_keys(self) -> bool:
        """Whether the dataset has a printable name for every sample."""
        return "samples/key" in self._file

    def keys_of(self, samples: np.ndarray) -> np.ndarray:
        """(samples,) str, printable names of samples; empty where a sample is not stored or has none."""
        names = np.full(len(samples), "", dtype=object)
        if "samples/key" in self._file:
            there = np.array([int(sample) in self.stored for sample in samples], dtype=bool)
            places = [self.stored[int(sample)] for sample in samples[there]]
            stored = read_rows(dataset(self._file, "samples/key"), places)
            names[there] = [plain(name) for name in stored]
        return names

    def class_name(self, number: int) -> str:
        """Name of an output of the model, or its number if the dataset knows no names."""
        return self.classes[number] if 0 <= number < len(self.classes) else str(number)

    def target_name(self, number: int) -> str:
        """Name of what a row explains, or its number if there are no names."""
        return self.targets[number] if 0 <= number < len(self.targets) else self.class_name(number)

    def row_target(self, row: int) -> str:
        """What a row explains: its output token, or the name of its target."""
        outputs = self.outputs
        return str(outputs[row]) if len(outputs) else self.target_name(int(self.rows.target[row]))

    def verify(self) -> None:
        """Check that every array of rows has one entry per row, and read the end of every array.

        Raises:
            ResultError: names the array that is missing, of the wrong length, or unreadable.
        """
        expected = len(self.rows)
        for engine in self.engines.values():
            for data in engine.row_arrays():
                if len(data) != expected:
                    raise ResultError(
                        f"{self.path}: {data.name} has {len(data)} rows where /rows has {expected}; "
                        "the file is damaged: merge or compute it again."
                    )
        self._file.visititems(_read_end)

    def verify_checksums(self) -> int:
        """Read everything, and compare it with the checksums that were written with it; the number of datasets.

        Raises:
            ResultError: names what is not as it was written, or has no checksum.
        """
        faults = list(damage(self._file))
        if faults:
            shown = "".join(f"\n  {fault}" for fault in faults[:_SHOWN_FAULTS])
            rest = f"\n  and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
            raise ResultError(f"{self.path}: is not what was written:{shown}{rest}\nCopy or compute it again.")
        return len(names_in(self._file))


def _read_end(_name: str, node: h5py.Group | h5py.Dataset) -> None:
    if isinstance(node, h5py.Dataset) and node.ndim and len(node):
        read_rows(node, slice(len(node) - 1, len(node)))


def _foreign(name: bytes, link: Any) -> str | None:
    """The name of a link, if it leads to another file; anything but None ends the visit."""
    return name.decode(errors="replace") if link.type == h5py.h5l.TYPE_EXTERNAL else None


def _open_hdf5(path: Path) -> h5py.File:
    _refuse_what_is_no_file(path)
    if not h5py.is_hdf5(path):
        if path.suffix in (".yaml", ".yml"):
            raise ResultError(f"{path}: a job, not a result. Give the file that it names under output.path.")
        raise ResultError(f"{path}: not an HDF5 file, or one that lost its beginning.")
    try:
        # finished files are renamed into place and never written again, and some cluster disks know no locks
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        reason = "is truncated; copy or compute it again" if "truncated" in str(error) else "cannot be opened"
        raise ResultError(f"{path}: {reason} ({error}).") from error


def _refuse_what_is_no_file(path: Path) -> None:
    is_parts = path.name.endswith(".parts")
    parts = path if is_parts else path.with_name(f"{path.name}.parts")
    if parts.is_dir() and (is_parts or not path.exists()):
        raise ResultError(
            f"{path}: not finished; its parts lie in {parts}. `xattr-cli run JOB` computes the missing ones, "
            "`xattr-cli merge JOB` joins those of several shards."
        )
    if odd := oddity(path):
        raise ResultError(f"{path}: is {odd}, not a file.")
    if path.is_dir():
        raise ResultError(f"{path}: is a folder; give a result file.{_like(path / 'attributions.h5')}")
    if not path.exists():
        raise ResultError(f"{path}: no such file.{_like(path)}")


def _like(path: Path) -> str:
    names = [one.name for one in path.parent.glob("*.h5")] if path.parent.is_dir() else []
    match = nearest(path.name, names)
    return f" Did you mean {str(path.parent / match)!r}?" if match else ""
