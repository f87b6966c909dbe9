"""A network, data and baselines that are in memory already, as a job takes them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from pydantic import PrivateAttr
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..baselines.base import Baseline, BoundBaseline, explained_specs
from ..baselines.file import bind_arrays, checked_baselines
from ..datasets.base import Samples
from ..datasets.columns import Column
from ..datasets.files import to_numpy
from ..datasets.map_style import MapSamples
from ..datasets.python import Python
from ..errors import DataError, ModelError
from ..fingerprint import fingerprint_arrays
from ..models.built import BuiltModel
from .tokens import TokenSamples

__all__ = ["TARGETS", "GivenBaseline", "GivenData", "GivenModel", "inputs_by_name"]

TARGETS = "targets"
"""The column of `GivenData` that holds the target of each sample."""


class GivenModel(BuiltModel):
    """A module of the caller's; it is lent, and given back as it was."""

    registered_name: ClassVar[str] = "memory"
    tag: ClassVar[str] = "kind"
    _module: Any = PrivateAttr()

    @classmethod
    def of(cls, module: Any) -> GivenModel:
        """The model that is this module.

        Raises:
            ModelError: it is none.
        """
        if not isinstance(module, nn.Module):
            what = "a function" if inspect.isroutine(module) else type(module).__name__
            raise ModelError(
                f"module: {what} is no torch.nn.Module. Give the module itself: its weights are frozen while "
                "it is explained, and put back. For another output, write a Module whose forward returns that."
            )
        return cls.model_validate({}, context={"module": module})

    def model_post_init(self, context: Any) -> None:
        """Remember the module."""
        self._module = context["module"]

    def build(self) -> nn.Module:
        """The module itself."""
        module: nn.Module = self._module
        return module


def inputs_by_name(module: nn.Module, inputs: Any) -> Any:
    """Inputs as a mapping if they are a tuple, as captum takes several: named as the module's `forward` does.

    Example:
        >>> list(inputs_by_name(nn.Bilinear(2, 3, 1), (np.zeros((4, 2)), np.zeros((4, 3)))))
        ['input1', 'input2']
    """
    if not isinstance(inputs, tuple):
        return inputs
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes = [name for name, one in inspect.signature(module.forward).parameters.items() if one.kind in positional]
    names = [*islice(takes, len(inputs)), *(f"X{number}" for number in range(len(takes), len(inputs)))]
    return dict(zip(names, inputs, strict=True))


class GivenData(Python):
    """Arrays, tensors, data frames, lists of sequences or a dataset of torch, of the caller's."""

    registered_name: ClassVar[str] = "memory"
    tag: ClassVar[str] = "kind"
    factory: str = "explain"
    _inputs: Any = PrivateAttr()
    _labels: Any = PrivateAttr()
    _targets: Any = PrivateAttr()
    _tokens: Any = PrivateAttr()

    @classmethod
    def of(
        cls,
        inputs: Any,
        labels: Any = None,
        class_names: Sequence[Any] = (),
        targets: Any = None,
        tokens: Sequence[Sequence[str]] | None = None,
    ) -> GivenData:
        """The dataset of these inputs.

        Arguments:
            inputs: (samples, *shape) array, tensor or data frame, a list of sequences of different lengths, a
                mapping of such by name, in the order in which the network takes them, or a dataset of torch.
            labels: (samples,) classes or values; None if there are none.
            class_names: of the network's outputs.
            targets: (samples,) the output to explain of each; None if all have the same.
            tokens: what the steps of each sample are called, without its padding; None if they have no names.

        Raises:
            DataError: a loader, or a dataset with labels or targets of their own beside it.
        """
        if isinstance(inputs, DataLoader):
            raise DataError(
                "inputs: a DataLoader, whose batches may be shuffled; give its dataset: loader.dataset."
            )
        if isinstance(inputs, Dataset) and not (labels is targets is tokens is None):
            raise DataError("labels: a dataset has its own; leave out labels, targets and tokens of each sample.")
        names = class_names if isinstance(class_names, str) else tuple(map(str, _plain(class_names)))
        context = {"inputs": inputs, "labels": labels, "targets": targets, "tokens": tokens}
        return cls.model_validate({"class_names": names}, context=context)

    def model_post_init(self, context: Any) -> None:
        """Remember the arrays."""
        super().model_post_init({})
        self._inputs, self._labels = context["inputs"], context["labels"]
        self._targets, self._tokens = context["targets"], context["tokens"]

    def open(self) -> Samples:
        """The arrays as samples; columns of a data frame give names to features."""
        if isinstance(self._inputs, Dataset):
            return MapSamples(self._inputs, "inputs", limit=self.limit)
        given = self._inputs if isinstance(self._inputs, Mapping) else {"X": self._inputs}
        arrays = {name: _on_cpu(value) for name, value in given.items()}
        targets = {} if self._targets is None else {TARGETS: np.asarray(_plain(self._targets))}
        samples = self._of_arrays(arrays, _on_cpu(self._labels), further=targets)
        return samples if self._tokens is None else TokenSamples(samples, self._tokens)

    def _column(self, name: str, value: Any) -> Column:
        names = getattr(value, "columns", None)
        if names is None:
            return super()._column(name, value)
        column = super()._column(name, np.asarray(value, dtype=np.float32))
        return replace(column, spec=replace(column.spec, features=tuple(map(str, names))))


class GivenBaseline(Baseline):
    """Baselines of the caller's: one, one a sample, or a background."""

    registered_name: ClassVar[str] = "memory"
    tag: ClassVar[str] = "kind"
    _given: Any = PrivateAttr()

    @classmethod
    def of(cls, given: Any) -> GivenBaseline:
        """The baseline that is this array: (*shape), (1, *shape) or (baselines, *shape); or a mapping of such."""
        return cls.model_validate({}, context={"given": given})

    def model_post_init(self, context: Any) -> None:
        """Remember the arrays."""
        self._given = context["given"]

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """The arrays, once their shapes fit.

        Raises:
            DataError: an input without a baseline, a shape that does not fit, or values that are not finite.
        """
        specs = explained_specs(samples, inputs)
        given = self._given if isinstance(self._given, Mapping) else {spec.name: self._given for spec in specs[:1]}
        if missing := [spec.name for spec in specs if spec.name not in given]:
            raise DataError(f"baseline: no array for {', '.join(missing)}; give a mapping from input to array.")
        arrays = {spec.name: to_numpy(given[spec.name], f"baseline of {spec.name!r}") for spec in specs}
        arrays = {
            spec.name: array[0] if array.shape == (1, *spec.shape) else array
            for spec, array in zip(specs, arrays.values(), strict=True)
        }
        checked = {spec.name: checked_baselines(arrays[spec.name], spec, "baseline") for spec in specs}
        return bind_arrays(checked, specs, samples, "baseline", fingerprint_arrays(arrays.values()))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, list) and value and isinstance(value[0], Tensor):
        return [_on_cpu(each) for each in value]
    return value


def _plain(values: Any) -> Any:
    """Entries as Python has them, of a list, an array or a tensor of any device."""
    return values.tolist() if hasattr(values, "tolist") else list(values)
