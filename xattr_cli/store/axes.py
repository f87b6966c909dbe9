"""Axes of a result file as dimension scales: xarray and netCDF find named dimensions and their coordinates.

A label alone, which HDF5 keeps of an axis, is lost on them. Every group that stands for itself (`rows`, `samples`,
an input, an engine, an effect) gets a scale per dimension, named after the label; where a name is taken by
something else, or one label goes with two lengths, the dimension gets a name of its own and the label stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import h5py

from .columns import STRINGS
from .survey import datasets

__all__ = ["COORDINATE_OF", "dimension_names", "is_only_an_axis", "name_axes"]

COORDINATE_OF = "coordinate_of"
"""Attribute of a scale that repeats an array of the file: the path of that array."""

_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
_EVERYWHERE = {"row": "rows/id", "sample": "samples/index"}
_LOOKED_FOR = frozenset(
    "attribution curve features group_of interaction interaction_error key map_alpha maps offset real reduced "
    "row_groups running scale segments standard_error texts tokens top values".split()
)
"""What readers look for in a group: no dimension may pretend to be it."""
_ALONE = ("rows", "samples")
_EACH = ("inputs", "engines", "effects")


def is_only_an_axis(item: h5py.HLObject) -> bool:
    """Whether a dataset is there to name an axis, and holds nothing that is not elsewhere in the file."""
    name = item.attrs.get("NAME", b"")
    return COORDINATE_OF in item.attrs or (isinstance(name, bytes) and name.startswith(_NO_VARIABLE.encode()))


def dimension_names(array: h5py.Dataset) -> tuple[str, ...]:
    """A name for each axis of an array, no two the same: of its scales, its labels, or made from its own."""
    own = array.name.rpartition("/")[2]
    if array.is_scale:
        return (own,)
    names: list[str] = []
    for place, axis in enumerate(array.dims):
        name = axis[0].name.rpartition("/")[2] if len(axis) else axis.label or f"{own}_{place}"
        names.append(f"{name}_{place}" if name in names else name)
    return tuple(names)


def name_axes(file: h5py.File) -> None:
    """Give every axis of every array of a finished file its dimension, with the coordinates that it has."""
    for group, arrays in _scopes(file):
        scope = _Scope(file, group, arrays)
        named = {path: scope.dimensions(path) for path in arrays}
        scales = {name: scope.scale(name) for name in scope.lengths}
        for path, names in named.items():
            for place, name in enumerate(names):
                if arrays[path] != scales[name]:  # a coordinate is its own axis
                    arrays[path].dims[place].attach_scale(scales[name])


def _scopes(file: h5py.File) -> Iterator[tuple[h5py.Group, dict[str, h5py.Dataset]]]:
    """Groups that hold their own scales, with the arrays in and below them."""
    yield file, {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
    groups = [file[name] for name in _ALONE if name in file]
    groups += [group for name in _EACH if name in file for group in file[name].values()]
    for group in groups:
        yield group, datasets(group)


@dataclass(frozen=True)
class _Scope:
    """A group with its own dimensions.

    Attributes:
        lengths: of the dimensions that have a name so far.
        coordinates: arrays of the file that say what a dimension's entries are.
    """

    file: h5py.File
    group: h5py.Group
    arrays: Mapping[str, h5py.Dataset]
    lengths: dict[str, int] = field(default_factory=dict)
    coordinates: dict[str, h5py.Dataset] = field(default_factory=dict)

    def dimensions(self, path: str) -> tuple[str, ...]:
        """A name for each axis of an array, no two the same; they are remembered in `lengths`."""
        array, names = self.arrays[path], list[str]()
        for label, length in zip(self._labels(path), array.shape, strict=True):
            candidates = self._candidates(label, length, repeated=label in names)
            name = next(name for name in candidates if self._is_free(name, length, names))
            self.lengths[name] = length
            names.append(name)
        features = self._features(path)
        if features is not None and names and len(features) == array.shape[-1]:
            self.coordinates.setdefault(names[-1], features)
        return tuple(names)

    def scale(self, name: str) -> h5py.Dataset:
        """The dataset that is the dimension of that name."""
        if name in self.arrays:
            self.arrays[name].make_scale(name)
            return self.arrays[name]
        length, source = self.lengths[name], self._coordinate(name)
        if source is None:
            # nothing is ever written into it, and so it takes no room
            scale = self.group.create_dataset(name, (length,), ">f4", track_times=False)
            scale.make_scale(f"{_NO_VARIABLE}{length:>10}")
            return scale
        is_text = h5py.check_string_dtype(source.dtype) is not None
        scale = self.group.create_dataset(
            name, data=source[()], dtype=STRINGS if is_text else source.dtype, track_times=False
        )
        scale.make_scale(name)
        scale.attrs[COORDINATE_OF] = source.name
        return scale

    def _labels(self, path: str) -> tuple[str, ...]:
        """Labels of an array's axes; made from its name where the file has none."""
        array, name = self.arrays[path], path.rpartition("/")[2]
        own = tuple(axis.label for axis in array.dims)
        if array.ndim == 1 and not own[0]:
            return (self._singular(name, len(array)),)
        own = tuple(label or f"{name}_{place}" for place, label in enumerate(own))
        whole = self.arrays.get(f"attribution/{name}") if "/" in path else None
        if whole is None:
            return own
        # two tensors may have features of the same label and number that are not the same features
        of_tensor = {axis.label for axis in whole.dims} - {whole.dims[0].label}
        return tuple(f"{name}_{label}" if label in of_tensor else label for label in own)

    def _singular(self, name: str, length: int) -> str:
        """The label of the axis that a list of names is about, such as "layer" for "layers"; else its own."""
        known = {axis.label for array in self.arrays.values() for axis in array.dims}
        about = [name, name.removesuffix("s"), name.removesuffix("_names")]
        return next(
            (label for label in about if label in known and self.lengths.get(label, length) == length), name
        )

    def _candidates(self, label: str, length: int, *, repeated: bool) -> Iterator[str]:
        yield f"{label}_2" if repeated else label
        yield from (name for name in self.arrays if name.endswith(f"_{label}"))
        yield f"{label}_index"
        yield f"{label}_{length}"
        yield from (f"{label}_{length}_{count}" for count in range(2, 99))

    def _is_free(self, name: str, length: int, taken: list[str]) -> bool:
        """Whether an axis of that length may have that name: it has it already, or nobody has."""
        if name in taken or self.lengths.get(name, length) != length:
            return False
        if name not in self.group:
            return name not in _LOOKED_FOR
        array = self.arrays.get(name)
        return array is not None and array.shape == (length,) and array.dims[0].label in ("", name)

    def _features(self, path: str) -> h5py.Dataset | None:
        """Names along the last axis of an input or of a map of it; None if there are none."""
        if self.group.parent.name == "/inputs" and path == "values":
            return self.arrays.get("features")
        first, _, tensor = path.partition("/")
        if self.group.parent.name != "/engines" or first != "attribution":
            return None
        explained = self.file["explained"].asstr()[()] if "explained" in self.file else ()
        name = tensor or next(iter(explained), "")
        return self.file.get(f"inputs/{name}/features") if name else None

    def _coordinate(self, name: str) -> h5py.Dataset | None:
        source = self.file.get(_EVERYWHERE.get(name, "\0")) or self.coordinates.get(name)
        about = (f"{name.removesuffix('_2')}s", f"{name}_names")
        named = (array for path, array in self.arrays.items() if path.rpartition("/")[2] in about)
        found = source or next((array for array in named if array.ndim == 1), None)
        return found if found is not None and found.shape == (self.lengths[name],) else None
