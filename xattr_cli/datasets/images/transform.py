"""What is done to a picture before the network sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from ...errors import DataError, nearest
from ...importing import import_callable
from ...registry import Options
from ..files import optional, to_numpy

__all__ = ["ImageTransform", "Normalisation", "Preparation"]

Size = Annotated[int, Field(ge=1)]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preparation:
    """A transform, ready to be applied.

    Attributes:
        apply: picture → (channels, height, width) floats, or another shape of a user's own.
        mean, std: per channel, of (picture in [0, 1] - mean) / std; empty if unknown or none.
        classes: names that the pretrained weights give to their outputs.
    """

    apply: Callable[[Any], np.ndarray]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()


class Normalisation(Options):
    """(picture in [0, 1] - mean) / std, per channel."""

    mean: tuple[float, ...] = Field(min_length=1)
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)


class ImageTransform(Options):
    """Steps in this order: colours, resize, crop, values to [0, 1], normalise.

    Instead of the steps: `weights`, the transform that belongs to weights of torchvision (nothing is
    downloaded), or `function`, one's own. The bare text "module:callable" means `function`.
    """

    resize: Size | tuple[Size, Size] | None = Field(
        default=None, description="length of the shorter side, or [height, width]"
    )
    center_crop: Size | tuple[Size, Size] | None = Field(
        default=None, description="side of the square cut out of the middle, or [height, width]"
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    grayscale: bool = Field(default=False, description="one channel instead of three")
    normalize: Literal["imagenet", "none"] | Normalisation = Field(
        default="none", description="imagenet, none, or {mean: [...], std: [...]}"
    )
    weights: str | None = Field(default=None, description="such as ResNet18_Weights.DEFAULT")
    function: str | None = Field(
        default=None, description="module:callable from a PIL picture to an array or tensor"
    )

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_way(self) -> ImageTransform:
        fields = type(self).model_fields
        chosen = [name for name in fields if getattr(self, name) != fields[name].default]
        for name in ("weights", "function"):
            if name in chosen and len(chosen) > 1:
                raise ValueError(f"{name} is a whole transform; no other key may stand beside it")
        if self.normalize != "none":
            mean, std = self._statistics()
            channels = 1 if self.grayscale else 3
            if not len(mean) == len(std) == channels:
                raise ValueError(
                    f"normalize has {len(mean)} means and {len(std)} deviations for {channels} channels"
                )
        return self

    def prepare(self, folder: Path | None, key: str) -> Preparation:
        """The transform, ready to be applied.

        Arguments:
            folder: folder of the job file, where `function` is looked for first.
            key: dotted key of the transform, for errors.

        Raises:
            DataError: no such weights.
            JobError: no such function.
        """
        if self.weights is not None:
            return _of_weights(self.weights, f"{key}.weights")
        if self.function is not None:
            return _of_function(import_callable(self.function, folder, f"{key}.function"), key)
        mean, std = self._statistics()
        return Preparation(self._apply, mean, std)

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if isinstance(self.normalize, Normalisation):
            return self.normalize.mean, self.normalize.std
        return _IMAGENET if self.normalize == "imagenet" else ((), ())

    def _apply(self, picture: Any) -> np.ndarray:
        if not isinstance(picture, Image.Image):
            raise DataError(
                f"the dataset delivers {type(picture).__name__}, not pictures; give dataset.transform.function."
            )
        picture = _with_mode(picture, "L" if self.grayscale else "RGB")
        if self.resize is not None:
            size = _resized(picture.size, self.resize)
            picture = picture.resize(size, _FILTERS[self.interpolation])
        if self.center_crop is not None:
            picture = _cropped(picture, self.center_crop)
        values = np.asarray(picture, dtype=np.float32) / np.float32(255)
        values = values[np.newaxis] if self.grayscale else values.transpose(2, 0, 1)
        mean, std = (np.array(s, dtype=np.float32)[:, None, None] for s in self._statistics())
        return np.ascontiguousarray((values - mean) / std if mean.size else values)


def _with_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode[0] in "IF":
        raise DataError(
            f"the picture has mode {picture.mode} (more than 8 bits); convert it to 8 bits, "
            "or give dataset.transform.function."
        )
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert(mode)


def _resized(size: tuple[int, int], wanted: int | tuple[int, int]) -> tuple[int, int]:
    """New (width, height), rounded as torchvision does."""
    if isinstance(wanted, tuple):
        return wanted[1], wanted[0]
    width, height = size
    if width <= height:
        return wanted, int(wanted * height / width)
    return int(wanted * width / height), wanted


def _cropped(picture: Image.Image, size: int | tuple[int, int]) -> Image.Image:
    height, width = size if isinstance(size, tuple) else (size, size)
    if picture.width < width or picture.height < height:
        raise DataError(
            f"the picture is {picture.height} x {picture.width}, too small for "
            f"center_crop {height} x {width}; set dataset.transform.resize."
        )
    top = round((picture.height - height) / 2.0)
    left = round((picture.width - width) / 2.0)
    return picture.crop((left, top, left + width, top + height))


def _of_weights(name: str, key: str) -> Preparation:
    models = optional("torchvision.models", needed_by=key, install="torchvision")
    try:
        weights = models.get_weight(name)
    except (ValueError, AttributeError, KeyError) as error:
        match = nearest(name, _weight_names(models))
        hint = f" Did you mean {match!r}?" if match else ""
        raise DataError(f"{key}: torchvision has no weights {name!r}.{hint}") from error
    preset = weights.transforms()

    def apply(picture: Any) -> np.ndarray:
        return to_numpy(preset(_with_mode(picture, "RGB")), key)

    return Preparation(
        apply,
        tuple(getattr(preset, "mean", ())),
        tuple(getattr(preset, "std", ())),
        tuple(weights.meta.get("categories", ())),
    )


def _weight_names(models: Any) -> list[str]:
    enums = [models.get_model_weights(model) for model in models.list_models()]
    return [name for enum in enums for name in [*(str(w) for w in enum), f"{enum.__name__}.DEFAULT"]]


def _of_function(function: Callable[..., Any], key: str) -> Preparation:
    def apply(picture: Any) -> np.ndarray:
        try:
            prepared = function(picture)
        except Exception as error:
            raise DataError(f"{key}.function failed: {type(error).__name__}: {error}") from error
        values = to_numpy(prepared, f"{key}.function")
        if values.dtype.kind != "f":
            raise DataError(f"{key}.function: returned {values.dtype} values; floats are needed.")
        return values

    return Preparation(apply)
