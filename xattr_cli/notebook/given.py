"""A network and data that are in memory already, as a job takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from pydantic import PrivateAttr
from torch import Tensor, nn

from ..datasets.base import Samples
from ..datasets.columns import Column
from ..datasets.python import Python
from ..errors import ModelError
from ..models.built import BuiltModel

__all__ = ["GivenData", "GivenModel"]


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
            raise ModelError(f"module: {type(module).__name__} is no torch.nn.Module.")
        return cls.model_validate({}, context={"module": module})

    def model_post_init(self, context: Any) -> None:
        """Remember the module."""
        self._module = context["module"]

    def build(self) -> nn.Module:
        """The module itself."""
        module: nn.Module = self._module
        return module


class GivenData(Python):
    """Arrays, tensors, data frames or lists of sequences of the caller's."""

    registered_name: ClassVar[str] = "memory"
    tag: ClassVar[str] = "kind"
    factory: str = "explain"
    _inputs: Any = PrivateAttr()
    _labels: Any = PrivateAttr()

    @classmethod
    def of(cls, inputs: Any, labels: Any = None, class_names: tuple[str, ...] = ()) -> GivenData:
        """The dataset of these inputs.

        Arguments:
            inputs: (samples, *shape) array, tensor or data frame, a list of sequences of different lengths, or a
                mapping of such by name, in the order in which the network takes them.
            labels: (samples,) classes or values; None if there are none.
            class_names: of the network's outputs.
        """
        context = {"inputs": inputs, "labels": labels}
        return cls.model_validate({"class_names": class_names}, context=context)

    def model_post_init(self, context: Any) -> None:
        """Remember the arrays."""
        super().model_post_init({})
        self._inputs, self._labels = context["inputs"], context["labels"]

    def open(self) -> Samples:
        """The arrays as samples; columns of a data frame give names to features."""
        given = self._inputs if isinstance(self._inputs, Mapping) else {"X": self._inputs}
        return self._of_arrays({name: _on_cpu(value) for name, value in given.items()}, _on_cpu(self._labels))

    def _column(self, name: str, value: Any) -> Column:
        names = getattr(value, "columns", None)
        if names is None:
            return super()._column(name, value)
        column = super()._column(name, np.asarray(value, dtype=np.float32))
        return replace(column, spec=replace(column.spec, features=tuple(map(str, names))))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    return (
        [_on_cpu(each) for each in value]
        if isinstance(value, list) and value and isinstance(value[0], Tensor)
        else value
    )
