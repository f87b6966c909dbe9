"""Networks of timm, by name, with weights from a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field, PrivateAttr, field_validator
from torch import nn

from ..errors import ModelError, nearest
from ..importing import import_optional
from ..registry import MODELS
from .base import LoadedModel
from .built import BuiltModel

__all__ = ["TimmModel"]

_DOWNLOADS = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay")


@MODELS.register("timm")
class TimmModel(BuiltModel):
    """A classifier of images of timm, filled from a checkpoint; nothing is ever downloaded.

    To explain timm's own weights, save them once, on a machine with internet access, with
    `torch.save(timm.create_model("resnet18", pretrained=True).state_dict(), "resnet18.pt")`.
    """

    name: str = Field(description="as in timm.list_models()", examples=["resnet18"])
    kwargs: dict[str, Any] = Field(
        default={}, description="keyword arguments of timm.create_model, such as num_classes"
    )

    _expects: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("name")
    @classmethod
    def _local(cls, value: str) -> str:
        if ":" in value or "/" in value:
            raise ValueError("would be fetched from a hub, which a job never does; give an architecture of timm")
        return value

    @field_validator("kwargs")
    @classmethod
    def _no_downloads(cls, value: dict[str, Any]) -> dict[str, Any]:
        asked = [key for key in _DOWNLOADS if key in value]
        if asked:
            raise ValueError(
                f"{asked[0]!r} may download, which a job never does. Save the weights once with "
                "torch.save(timm.create_model(NAME, pretrained=True).state_dict(), 'weights.pt'), and set "
                "model.checkpoint: weights.pt"
            )
        return value

    def load(self) -> LoadedModel:
        """Build the network and copy the checkpoint into it."""
        loaded = super().load()
        return replace(loaded, notes=(*loaded.notes, *self._expects))

    def picture_transform(self) -> dict[str, Any]:
        """That of timm's own weights."""
        config = self._library().get_pretrained_cfg(self.name)
        if config is None or not config.mean:
            return {}
        side = config.input_size[-1]
        return {
            "resize": int(side / (config.crop_pct or 1)),
            "center_crop": side,
            "interpolation": config.interpolation,
            "normalize": {"mean": list(config.mean), "std": list(config.std)},
        }

    def build(self) -> nn.Module:
        """The architecture with random weights."""
        library = self._library()
        try:
            network: nn.Module = library.create_model(self.name, pretrained=False, **self.kwargs)
        except Exception as error:
            raise ModelError(
                f"model.kwargs: timm's {self.name} cannot be built with {self.kwargs}: {error}"
            ) from error
        self._expects = _expected(network)
        return network

    def _library(self) -> Any:
        """The package, which has this architecture."""
        library = import_optional(
            "timm", needed_by="model kind 'timm'", install="xattr-cli[timm]", error=ModelError
        )
        architecture = self.name.partition(".")[0]
        if not library.is_model(architecture):
            match = nearest(architecture, library.list_models())
            hint = f" Did you mean {match!r}?" if match else " See timm.list_models()."
            raise ModelError(f"model.name: timm has no model {self.name!r}.{hint}")
        return library


def _expected(network: Any) -> tuple[str, ...]:
    """What timm's own weights of a network want to be given."""
    config = getattr(network, "pretrained_cfg", None) or {}
    if not {"input_size", "mean", "std"} <= set(config):
        return ()
    size, mean, std = (tuple(config[key]) for key in ("input_size", "mean", "std"))
    return (f"timm's own weights for this network take {size} with mean {mean} and std {std}",)
