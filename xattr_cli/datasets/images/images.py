"""Datasets of pictures: a folder, with a sub-folder per class or flat."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field, field_validator

from ...errors import DataError
from ...fingerprint import hash_files
from ...job.config import JobPath
from ...registry import DATASETS
from ...samples import Batch, InputSpec
from ...untrusted.files import oddity
from ..base import DatasetSource, Samples
from ..classes.labels import Labels, name_labels
from ..files import combined, existing_folder
from ..scaling import default_axes, per_feature
from .listing import list_images
from .transform import ImageTransform, Preparation

__all__ = ["Images", "picture_spec"]

_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


@DATASETS.register("images", "folder", "image_folder", "jpg", "png", "photos")
class Images(DatasetSource):
    """Pictures of a folder, sorted by their path; sub-folders are classes.

    The classes are numbered by `class_names` (or the names that `transform.weights` brings along)
    where the folders bear such names, else in sorted order.
    """

    path: JobPath = Field(description="folder of pictures, or of one folder per class")
    extensions: tuple[str, ...] = Field(
        default=_EXTENSIONS, min_length=1, description="endings of files that are pictures; others are left out"
    )
    transform: ImageTransform = Field(
        default=ImageTransform(), description="how a picture becomes what the network is given"
    )
    labels: Literal["auto", "folders", "none"] = Field(
        default="auto", description="auto takes sub-folders as classes if every picture lies in one"
    )
    follow_links: bool = Field(default=False, description="let symbolic links lead out of the folder")

    @field_validator("extensions")
    @classmethod
    def _with_dot(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f".{extension.lower().lstrip('.')}" for extension in value)

    def open(self) -> Samples:
        """List the pictures and read the first one.

        Raises:
            DataError: no pictures, some outside the class folders, a damaged first one.
        """
        folder = existing_folder(self.path, "dataset.path")
        paths = list_images(folder, self.extensions, self.follow_links)
        if not paths:
            raise DataError(f"dataset.path: the dataset is empty: no {', '.join(self.extensions)} in {folder}.")
        preparation = self.transform.prepare(self._job_folder, "dataset.transform")
        labels = self._labels(paths, preparation.classes)
        return _Pictures(folder, paths, labels, preparation, self.bad_rows == "quarantine", self.limit)

    def _labels(self, paths: list[PurePosixPath], known: tuple[str, ...]) -> Labels | None:
        loose = [path for path in paths if len(path.parts) == 1]
        if self.labels == "none" or (self.labels == "auto" and len(loose) == len(paths)):
            return None
        if loose:
            raise DataError(
                f"dataset.labels: {len(loose)} of {len(paths)} pictures lie in no class folder, "
                f"such as {loose[0]}. Move them, or set dataset.labels: none."
            )
        try:
            return name_labels([p.parts[0] for p in paths], "dataset.path", self.known_classes or known)
        except DataError as error:
            raise DataError(f"{error} To pass the class folders over, set dataset.labels: none.") from error


class _Pictures(Samples):
    """Pictures, decoded when they are read."""

    def __init__(
        self,
        folder: Path,
        paths: list[PurePosixPath],
        labels: Labels | None,
        preparation: Preparation,
        quarantine: bool,
        limit: int | None,
    ) -> None:
        self._folder = folder
        self._paths = paths
        self._labels = labels
        self._preparation = preparation
        self._quarantine = quarantine
        self._spec = picture_spec(self._first(), preparation)
        self.inputs = (self._spec,)
        self.classes = labels.classes if labels else preparation.classes
        self.notes = (*((labels.note,) if labels and labels.note else ()), *_conversions(folder, paths))
        # names decide the classes; pictures beyond the limit are never read
        self._hashed = hash_files(folder, [folder / path for path in paths[:limit]])
        self.fingerprint = combined([self._hashed.digest, *map(str, paths[limit:] if limit else ())])

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, start: int, stop: int) -> Batch:
        values = np.empty((stop - start, *self._spec.shape), self._spec.dtype)
        for row, path in enumerate(self._paths[start:stop]):
            values[row] = self._picture(path)
        return Batch(
            index=np.arange(start, stop, dtype=np.int64),
            inputs={self._spec.name: values},
            labels=None if self._labels is None else self._labels.values[start:stop].copy(),
            keys=tuple(str(path) for path in self._paths[start:stop]),
        )

    def known_labels(self) -> np.ndarray | None:
        return None if self._labels is None else self._labels.values.copy()

    def changed(self, start: int, stop: int) -> Path | None:
        return self._hashed.changed(start, stop)

    def _first(self) -> np.ndarray:
        """The first picture that can be read; its shape is that of all."""
        for path in self._paths:
            try:
                return self._decode(path)
            except _DamagedError:
                if not self._quarantine:
                    raise
        raise DataError(f"dataset.path: every picture in {self._folder} is damaged.")

    def _picture(self, path: PurePosixPath) -> np.ndarray | float:
        try:
            values = self._decode(path)
        except _DamagedError:
            if self._quarantine:
                return float("nan")
            raise
        if values.shape != self._spec.shape:
            raise DataError(
                f"dataset.path: {self._folder / path} has shape {values.shape}, the first picture "
                f"{self._spec.shape}; set dataset.transform.resize (and center_crop) to make them alike."
            )
        return values

    def _decode(self, path: PurePosixPath) -> np.ndarray:
        where = f"dataset.path: {self._folder / path}"
        if odd := oddity(self._folder / path):
            raise DataError(f"{where} is {odd}, not a picture.")
        try:
            # PostScript would be handed to Ghostscript, whatever the file is called
            with warnings.catch_warnings(), Image.open(self._folder / path, formats=_formats()) as picture:
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                _refuse_bomb(picture)
                picture.load()
        except Exception as error:  # decoders raise what the bytes of a damaged picture mean
            raise _DamagedError(
                f"{where} is damaged or no picture: {error}. Remove it, or set dataset.bad_rows: quarantine."
            ) from error
        try:
            return self._preparation.apply(picture)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error


def _conversions(folder: Path, paths: Sequence[PurePosixPath]) -> tuple[str, ...]:
    """What is done to pictures on the way, of those at the beginning, by their headers."""
    turned = clear = 0
    for path in paths[:_LOOKED_AT]:
        with contextlib.suppress(Exception), Image.open(folder / path) as picture:
            turned += picture.getexif().get(_ORIENTATION, 1) != 1
            clear += "A" in picture.getbands() or "transparency" in picture.info
    of = f"of the first {min(len(paths), _LOOKED_AT)} pictures"
    notes = [f"{turned} {of} have an EXIF orientation; they are explained as stored, not turned"] if turned else []
    notes += [f"{clear} {of} have transparency, which is left out: the colours below it show"] if clear else []
    return tuple(notes)


_LOOKED_AT = 64
_ORIENTATION = 0x0112


@cache
def _formats() -> list[str]:
    """Those of Pillow's formats that are decoded in this process."""
    Image.init()
    return [name for name in Image.ID if name not in _RUN_PROGRAMS]


def _refuse_bomb(picture: Image.Image) -> None:
    pixels, most = picture.width * picture.height, Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise DataError(f"{pixels:,} pixels; more than {most:,} are taken for a decompression bomb")


_RUN_PROGRAMS = {"EPS", "FPX", "WMF"}


class _DamagedError(DataError):
    """A picture that cannot be decoded."""


def picture_spec(values: np.ndarray, preparation: Preparation) -> InputSpec:
    """The input that prepared pictures make; its original units are pixels in [0, 1]."""
    offset = scale = None
    if preparation.mean and len(values.shape) == 3:
        offset = per_feature(preparation.mean, values.shape, "dataset.transform.normalize.mean")
        scale = per_feature(preparation.std, values.shape, "dataset.transform.normalize.std")
    return InputSpec("X", values.shape, values.dtype, default_axes(values.shape), (), offset, scale)
