"""The inputs of the stored samples, as the model took them and in original units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from ...errors import ResultError
from .arrays import dataset, plain, read_rows, texts

__all__ = ["InputResults"]


class InputResults:
    """One tensor of the model that is an input or explained; values are kept for the stored samples only.

    A tensor inside the network has no values, but its steps may have names.

    Attributes:
        name: the dataset's name for it.
        features: names along the last axis of a vector input; empty if it has none.
        offset, scale: model input = (original - offset) / scale, per feature or channel; None if equal.
    """

    def __init__(self, group: h5py.Group, positions: Mapping[int, int]) -> None:
        self._group = group
        self._positions = positions
        self.name: str = group.name.rsplit("/", 1)[-1]
        self.features = texts(group, "features")
        self.offset = np.asarray(group["offset"][()]) if "offset" in group else None
        self.scale = np.asarray(group["scale"][()]) if "scale" in group else None

    @property
    def stored(self) -> tuple[int, ...]:
        """Samples whose values are in the file."""
        return tuple(self._positions) if "values" in self._group else ()

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of one sample; None if no sample is stored."""
        return tuple(self._group["values"].shape[1:]) if self.stored else None

    def values(self, samples: Sequence[int] | np.ndarray) -> np.ndarray:
        """(samples, *shape) as the model took them.

        Raises:
            ResultError: a sample is not among the stored ones.
        """
        places = self._places(samples, self._positions if "values" in self._group else {})
        return read_rows(dataset(self._group, "values"), places)

    def _places(self, samples: Sequence[int] | np.ndarray, known: Mapping[int, int]) -> list[int]:
        missing = next((int(sample) for sample in samples if int(sample) not in known), None)
        if missing is not None:
            raise ResultError(
                f"{self._group.file.filename}: input {self.name!r} of sample {missing} is not stored "
                f"({len(known)} samples are); run the job again with output.store_inputs: all."
            )
        return [known[int(sample)] for sample in samples]

    @property
    def is_padded(self) -> bool:
        """Whether steps of some samples may be padding."""
        return "real" in self._group

    def real(self, samples: Sequence[int] | np.ndarray) -> np.ndarray | None:
        """(samples, steps) bool, False where a step is padding; None if nothing is padded.

        Raises:
            ResultError: a sample is not among the stored ones.
        """
        if "real" not in self._group:
            return None
        return read_rows(dataset(self._group, "real"), self._places(samples, self._positions))

    @property
    def has_tokens(self) -> bool:
        """Whether steps have names."""
        return "tokens" in self._group

    def all_tokens(self, samples: Sequence[int] | np.ndarray) -> np.ndarray:
        """(samples, steps) str, what each step is called; empty where it is padding.

        Raises:
            ResultError: a sample is not among the stored ones, or steps have no names.
        """
        tokens = read_rows(dataset(self._group, "tokens"), self._places(samples, self._positions))
        return np.array([[plain(name) for name in names] for names in tokens], dtype=object).reshape(tokens.shape)

    def tokens(self, sample: int) -> tuple[str, ...]:
        """What the real steps of a sample are called; empty if they have no names.

        Raises:
            ResultError: the sample is not among the stored ones.
        """
        if "tokens" not in self._group:
            return ()
        place = self._places([sample], self._positions)[0]
        names, real = self._group["tokens"].asstr()[place], self.real([sample])
        return tuple(names if real is None else names[real[0]])

    def original(self, samples: Sequence[int] | np.ndarray) -> np.ndarray:
        """(samples, *shape) float64 in original units: values · scale + offset."""
        taken = self.values(samples)
        values = taken.astype(np.float64)
        if self.scale is not None:
            values = values * _along(self.scale, values.shape[1:])
        if self.offset is None:
            return values
        offset = _along(self.offset, values.shape[1:])
        values = values + offset
        # an original zero comes back as the rounding of offset / scale in the type that the model took
        rounding = 2 * np.finfo(taken.dtype).eps if taken.dtype.kind == "f" else 0.0
        return np.where(np.abs(values) <= rounding * np.abs(offset), 0.0, values)


def _along(numbers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers per channel (first of three axes) or per feature (last axis), ready to broadcast."""
    per_channel = numbers.ndim == 1 and len(shape) == 3 and len(numbers) == shape[0]
    return numbers[:, None, None] if per_channel else numbers
