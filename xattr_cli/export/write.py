"""An export as a whole: written beside its place, and moved there when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import JobError, StoreError
from ..store.durable import reason, temporary_for
from .base import Exporter
from .source import Source

__all__ = ["default_path", "export"]


def default_path(file: Path, exporter: Exporter) -> Path:
    """Where an export of a result file lies unless it is told: beside it, with the ending of the format."""
    return file.with_name(f"{file.stem}{exporter.suffix}")


def export(
    source: Source, exporter: Exporter, path: Path, *, overwrite: bool = False, tell: Callable[[str], None] = print
) -> Path:
    """Write an export; whatever fails, there is none or a complete one.

    Arguments:
        source: the open file with the engines and rows that are asked for.
        exporter: the format with its options.
        path: file or folder to write.
        overwrite: replace what is there.
        tell: hears what a reader should know.

    Returns:
        The path.

    Raises:
        JobError: something is there already, or it is the result itself.
        StoreError: it cannot be written, or the result does not have what the format holds.
    """
    if path.exists() and path.samefile(source.results.path):
        raise JobError(f"{path}: is the result itself; choose another --output.")
    if path.exists() and not overwrite:
        raise JobError(f"{path}: exists; --overwrite replaces it.")
    temporary = temporary_for(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        notes = tuple(exporter.write(source, temporary))
        _refuse_to_replace(path, temporary)
        _remove(path)
        temporary.rename(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {reason(error)}.") from error
    finally:
        with suppress(OSError):
            _remove(temporary)
    for note in notes:
        tell(note)
    return path


def _refuse_to_replace(path: Path, new: Path) -> None:
    """Leave a folder alone that holds anything but an older export."""
    strange = {one.name for one in path.iterdir()} if path.is_dir() else set()
    strange -= {one.name for one in new.iterdir()} if new.is_dir() else set()
    if strange:
        raise JobError(
            f"{path}: is a folder with other things in it, such as {min(strange)!r}; choose another --output."
        )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
