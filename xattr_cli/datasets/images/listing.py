"""The pictures below a folder, in an order that no file system decides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ...errors import DataError

__all__ = ["list_images"]


def list_images(folder: Path, extensions: Sequence[str], follow_links: bool) -> list[PurePosixPath]:
    """Paths, relative to `folder`, of its files with these extensions; hidden ones are passed over.

    Arguments:
        folder: an existing folder.
        extensions: in small letters, such as ".png".
        follow_links: whether symbolic links may lead out of `folder`.

    Raises:
        DataError: a link leads out of the folder, to nowhere, or in a circle.
    """
    found: list[PurePosixPath] = []
    real = folder.resolve()
    pending: list[tuple[Path, PurePosixPath, tuple[Path, ...]]] = [(folder, PurePosixPath(), (real,))]
    while pending:
        here, name, above = pending.pop()
        with os.scandir(here) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
        for entry in visible:
            is_image = entry.name.lower().endswith(tuple(extensions))
            if not (is_image or entry.is_dir()):
                continue
            target = Path(entry.path).resolve() if entry.is_symlink() else above[-1] / entry.name
            _check_link(entry, target, real, follow_links)
            if entry.is_dir():
                if target in above:
                    raise DataError(f"dataset.path: {entry.path} leads in a circle of links.")
                pending.append((Path(entry.path), name / entry.name, (*above, target)))
            else:
                found.append(name / entry.name)
    return sorted(found, key=str)


def _check_link(entry: os.DirEntry[str], target: Path, folder: Path, follow_links: bool) -> None:
    if not entry.is_symlink():
        return
    if not target.exists():
        raise DataError(f"dataset.path: the link {entry.path} leads nowhere (to {target}).")
    if not (follow_links or target.is_relative_to(folder)):
        raise DataError(
            f"dataset.path: the link {entry.path} leads out of the folder, to {target}. "
            "If that is meant, set dataset.follow_links: true."
        )
