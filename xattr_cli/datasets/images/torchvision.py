"""Datasets that torchvision knows how to read; nothing is ever downloaded."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from ...errors import DataError, nearest, suggestion
from ...job.config import JobPath
from ...registry import DATASETS
from ...samples import InputSpec
from ..base import DatasetSource, Samples
from ..files import optional
from ..map_style import Hashing, MapSamples, hashing_field
from .images import picture_spec
from .transform import ImageTransform

__all__ = ["Torchvision"]

_OURS = ("root", "download", "transform", "transforms")


@DATASETS.register("torchvision")
class Torchvision(DatasetSource):
    """A dataset class of torchvision, such as MNIST, CIFAR10 or FakeData, whose files are already there."""

    name: str = Field(description="class of torchvision.datasets, such as CIFAR10")
    root: JobPath | None = Field(default=None, description="folder that holds the files")
    kwargs: dict[str, Any] = Field(default={}, description="further arguments, such as {train: false}")
    transform: ImageTransform = Field(
        default=ImageTransform(), description="how a picture becomes what the network is given"
    )
    hashing: Hashing = hashing_field()

    @field_validator("kwargs")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in _OURS:
            if name in value:
                raise ValueError(
                    "nothing is downloaded" if name == "download" else f"give dataset.{name.rstrip('s')} instead"
                )
        return value

    def open(self) -> Samples:
        """Open the files that are in `root`.

        Raises:
            DataError: unknown class or argument; files are missing.
        """
        library = optional("torchvision.datasets", needed_by="dataset kind 'torchvision'", install="torchvision")
        cls = getattr(library, self.name, None) if self.name in library.__all__ else None
        if not isinstance(cls, type):
            match = nearest(self.name, library.__all__)
            hint = f" Did you mean {match!r}?" if match else ""
            raise DataError(f"dataset.name: torchvision has no dataset {self.name!r}.{hint}")
        preparation = self.transform.prepare(self._job_folder, "dataset.transform")

        def describe(name: str, values: np.ndarray) -> InputSpec:
            return picture_spec(values, preparation)

        items = self._build(cls)
        classes = getattr(items, "classes", ())
        names = tuple(classes) if all(isinstance(name, str) for name in classes) else ()
        where = f"dataset {self.name}"
        return MapSamples(
            items,
            where,
            convert=preparation.apply,
            describe=describe,
            classes=names or preparation.classes,
            limit=self.limit,
            hashing=self.hashing,
        )

    def _build(self, cls: type) -> Any:
        try:
            return cls(**self._arguments(cls))
        except (RuntimeError, OSError, ValueError, TypeError, ImportError, AssertionError) as error:
            raise DataError(
                f"dataset.root: torchvision's {self.name} cannot be opened in {self.root}: {error}."
                f"{_expected(cls)} xattr-cli downloads nothing; {self._recipe(cls)}"
            ) from error

    def _arguments(self, cls: type) -> dict[str, Any]:
        parameters = inspect.signature(cls).parameters
        takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        for name in self.kwargs:
            if name not in parameters and not takes_any:
                allowed = [p for p in parameters if p not in _OURS]
                raise DataError(
                    f"dataset.kwargs: {self.name} has no argument {name!r}.{suggestion(name, allowed)}"
                )
        arguments = dict(self.kwargs)
        if "root" in parameters:
            if self.root is None:
                raise DataError(f"dataset.root: this key is missing; {self.name} reads files.")
            arguments["root"] = str(self.root)
        if "download" in parameters:
            arguments["download"] = False
        return arguments

    def _recipe(self, cls: type) -> str:
        if "download" not in inspect.signature(cls).parameters:
            return "its documentation in torchvision says where to get the files."
        call = f"{self.name}({str(self.root)!r}, download=True)"
        return f'fetch it once with: python -c "from torchvision.datasets import *; {call}"'


def _expected(cls: type) -> str:
    """The files that a class of torchvision looks for, as far as it tells."""
    resources = [str(url).rpartition("/")[2] for url, *_ in getattr(cls, "resources", ())]
    lists = [*getattr(cls, "train_list", ()), *getattr(cls, "test_list", ())]
    folder = getattr(cls, "base_folder", "")
    names = resources or [f"{folder}/{name}" for name, *_ in lists]
    return f" Files expected: {', '.join(names)}." if names else ""
