"""Where the values of an HDF5 dataset lie: other files that it is a view of, without which HDF5 makes them up."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import h5py

from ...errors import DataError

__all__ = ["source_files"]

_BLOCK = re.compile(r"%(%|\d*b)")
"""Of the name of a source: `%b` counts blocks, `%%` is a percent sign."""
_DEPTH = 16


def source_files(dataset: h5py.Dataset, key: str, depth: int = 0) -> Iterator[Path]:
    """The files that hold the values of a dataset: its own, and those of its sources if it is virtual or external.

    Raises:
        DataError: one is missing, or lacks the dataset: HDF5 would deliver fill values. `key` begins the message.
    """
    own = Path(dataset.file.filename)
    yield own
    where = f"{key}: {own}, dataset {dataset.name}"
    if depth > _DEPTH:
        raise DataError(f"{where} is a view of views without end.")
    beside = own.parent, own.resolve().parent
    for name, _, _ in dataset.external or ():
        yield _found((), str(name), "HDF5_EXTFILE_PREFIX", where)
    for source in dataset.virtual_sources() if dataset.is_virtual else ():
        for file_name, dataset_name in _names(own, source.file_name, source.dset_name):
            path = own if file_name == "." else _found(beside, file_name, "HDF5_VDS_PREFIX", where)
            with _source(path, dataset_name, where) as data:
                _refuse_shortage(data, source, where)
                yield from source_files(data, key, depth + 1)


@contextmanager
def _source(path: Path, name: str, where: str) -> Iterator[h5py.Dataset]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{where} is a view of {path}, which cannot be read: {error}") from error
    with file:
        found = file.get(name)
        if not isinstance(found, h5py.Dataset):
            raise DataError(f"{where} is a view of {name!r} in {path}, which has no such dataset. Bring it back.")
        yield found


def _refuse_shortage(data: h5py.Dataset, mapped: Any, where: str) -> None:
    """Refuse a source that has become smaller than what is mapped of it."""
    if mapped.src_space.get_select_type() == h5py.h5s.SEL_ALL:
        is_short = data.size < mapped.vspace.get_select_npoints()
    else:
        try:
            _, last = mapped.src_space.get_select_bounds()
        except (RuntimeError, ValueError):  # without a bound, it takes what is there
            return
        is_short = any(index >= length for index, length in zip(last, data.shape, strict=True))
    if is_short:
        raise DataError(
            f"{where} is a view of more of {data.name!r} in {data.file.filename} than its shape {data.shape} has: "
            "HDF5 would deliver its fill value for the rest."
        )


def _found(beside: Sequence[Path], name: str, variable: str, where: str) -> Path:
    """A source where HDF5 looks for it: below the prefixes of the environment, beside its view, as named."""
    bases = [*(Path(prefix) for prefix in os.environ.get(variable, "").split(":") if prefix), *beside]
    places = [Path(base, part) for part in dict.fromkeys((name, Path(name).name)) for base in bases]
    for place in (Path(name), *places) if Path(name).is_absolute() else (*places, Path(name)):
        if place.is_file():
            return place
    raise DataError(
        f"{where} is a view of {name}, which is not there: HDF5 would deliver its fill value instead. Bring "
        f"it back, or set {variable} to its folder."
    )


def _names(own: Path, file_name: str, dataset_name: str) -> Iterator[tuple[str, str]]:
    """File and dataset of a source; of each block that is there, if the names count them."""
    for block in count():
        names = _with_block(file_name, block), _with_block(dataset_name, block)
        if block and not (own.parent / names[0]).is_file():
            return
        yield names
        if names[0] == _with_block(file_name, block + 1):
            return


def _with_block(name: str, block: int) -> str:
    return _BLOCK.sub(lambda found: "%" if found[1] == "%" else str(block), name)
