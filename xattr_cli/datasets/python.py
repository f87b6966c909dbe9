"""Datasets that a Python function of the user's builds."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import Field

from ..errors import DataError, suggestion
from ..fingerprint import fingerprint_arrays, hash_file
from ..importing import import_callable, importable_from
from ..registry import DATASETS
from ..samples import InputSpec
from .base import DatasetSource, Samples
from .classes.labels import as_labels
from .columns import ArraySamples, Column, Sliceable, check_samples
from .files import to_numpy
from .map_style import Hashing, MapSamples, hashing_field
from .padded import PaddedSamples, PaddedSequence, RaggedArray, is_ragged, ragged_array
from .scaling import default_axes
from .stored.npy import as_stored, mapped_file

__all__ = ["Python"]


@DATASETS.register("python")
class Python(DatasetSource):
    """What `factory(**kwargs)` returns: arrays by name, a pair (X, y), or a dataset of torch.

    A mapping of arrays is read through `inputs` and `labels`; a list of arrays of different lengths is
    padded, a list of texts, such as "smiles", is shown beside the maps. A dataset has a length, and items x or
    (x, y), where x is an array or {input: array}. A factory may also return its own `xattr_cli.datasets.Samples`.
    """

    factory: str = Field(description="module:callable, looked for in the job's folder first")
    kwargs: dict[str, Any] = Field(default={}, description="arguments of the factory")
    inputs: str | tuple[str, ...] | None = Field(
        default=None, description="names of the inputs among the arrays; null takes all but the labels"
    )
    labels: str | None = Field(default=None, description="name of the labels; null takes y if it is there")
    hashing: Hashing = hashing_field()

    def open(self) -> Samples:
        """Call the factory.

        Raises:
            JobError: there is no such factory.
            DataError: it fails, or returns something else.
        """
        factory = import_callable(self.factory, self._job_folder, "dataset.factory")
        try:
            # the summary of a run goes to standard output; nothing that a factory says may mix with it
            with contextlib.redirect_stdout(sys.stderr), importable_from(self._job_folder):
                made = factory(**self.kwargs)
        except (Exception, SystemExit) as error:
            raise DataError(
                f"dataset.factory: {self.factory!r} failed: {type(error).__name__}: {error}"
            ) from error
        if isinstance(made, Samples):
            return made
        if isinstance(made, Mapping):
            return self._of_mapping(made)
        if isinstance(made, tuple) and len(made) == 2:
            return self._of_pair(*made)
        if hasattr(made, "dtype"):
            return self._of_pair(made, None)
        if hasattr(made, "__len__") and hasattr(made, "__getitem__") and not isinstance(made, str | tuple):
            return MapSamples(
                made,
                f"dataset {self.factory!r}",
                classes=_class_names(made),
                limit=self.limit,
                hashing=self.hashing,
            )
        raise DataError(
            f"dataset.factory: {self.factory!r} returned {type(made).__name__}. Return arrays by name, a pair (X, "
            "y), a dataset with __len__ and __getitem__, or xattr_cli.datasets.Samples."
        )

    def _of_pair(self, x: Any, y: Any) -> Samples:
        inputs = x if isinstance(x, Mapping) else {"X": x}
        return self._of_arrays(inputs, y)

    def _of_mapping(self, arrays: Mapping[str, Any]) -> Samples:
        labels = self.labels or ("y" if "y" in arrays else None)
        if self.inputs is None:
            inputs: Iterable[str] = [name for name in arrays if name != labels and not _are_texts(arrays[name])]
        else:
            inputs = (self.inputs,) if isinstance(self.inputs, str) else self.inputs
        for key, names in (("inputs", inputs), ("labels", [labels] if labels else [])):
            for name in names:
                if name not in arrays:
                    raise DataError(
                        f"dataset.{key}: {self.factory!r} returned no array {name!r}.{suggestion(name, arrays)}"
                    )
        chosen = {name: arrays[name] for name in inputs}
        texts = {name: arrays[name] for name in arrays if name != labels and _are_texts(arrays[name])}
        return self._of_arrays(chosen, arrays[labels] if labels else None, texts)

    def _of_arrays(
        self,
        inputs: Mapping[str, Any],
        labels: Any,
        texts: Mapping[str, Iterable[str]] | None = None,
        further: Mapping[str, np.ndarray] | None = None,
    ) -> Samples:
        """Arrays as samples; `further` columns are what `target: {column: NAME}` may name."""
        beside = dict(further or {})
        columns = [self._column(str(name), value) for name, value in inputs.items()]
        if not columns:
            raise DataError(f"dataset.factory: {self.factory!r} returned no input.")
        key = f"dataset.factory: labels of {self.factory!r}"
        known = None if labels is None else as_labels(to_numpy(labels, key), key, self.known_classes)
        arrays = [*(column.stored for column in columns), *([] if known is None else [known.values])]
        arrays += beside.values()
        shown = {name: [str(text) for text in values] for name, values in (texts or {}).items()}
        samples = ArraySamples(
            columns,
            known,
            fingerprint=fingerprint_arrays(arrays),
            texts=shown,
            files=[hash_file(path) for path in map(mapped_file, inputs.values()) if path is not None],
            column=beside.__getitem__ if beside else None,
        )
        ragged = {c.spec.name: c.stored for c in columns if isinstance(c.stored, RaggedArray)}
        sequences = [
            PaddedSequence(name, array.lengths, array.shape[1], (name,)) for name, array in ragged.items()
        ]
        return PaddedSamples(samples, tuple(sequences)) if sequences else samples

    def _column(self, name: str, value: Any) -> Column:
        key = f"dataset.factory: {name!r} of {self.factory!r}"
        stored: Sliceable
        stored = ragged_array(value, key) if is_ragged(value) else as_stored(value, key) or to_numpy(value, key)
        check_samples(stored, key)
        shape = stored.shape[1:]
        return Column(InputSpec(name, shape, stored.dtype.newbyteorder("="), default_axes(shape)), stored)


def _are_texts(value: Any) -> bool:
    """Whether a value is a list or an array of texts, one a sample."""
    if getattr(getattr(value, "dtype", None), "kind", "") in ("U", "O", "T"):
        value = value.tolist()
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(text, str) for text in value)


def _class_names(dataset: Any) -> tuple[str, ...]:
    """Names that a dataset keeps in `classes`, as torchvision's do."""
    classes = getattr(dataset, "classes", ())
    is_named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    return tuple(classes) if is_named else ()
